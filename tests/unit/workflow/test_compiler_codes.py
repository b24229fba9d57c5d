"""Each code of an error, and a workflow, task or launch plan that provokes just that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import (
    condition_pb2,
    interface_pb2,
    literals_pb2,
    tasks_pb2,
    types_pb2,
    workflow_closure_pb2,
    workflow_pb2,
)

from libs.workflow import compiler
from libs.workflow.compiler import Code
from tests.support.flytetypes import INTEGER, NONE, STRING, enum, listed, union, value
from tests.support.templates import (
    bindings,
    constant,
    identifier,
    interface,
    list_of,
    node,
    plan_node,
    promise,
    sub_node,
    task,
    task_template,
    workflow,
)

CLASS = types_pb2.LiteralType(
    simple=types_pb2.STRUCT, structure=types_pb2.TypeStructure(dataclass_type={"name": STRING})
)
TASKS = [
    task("nothing"),
    task("make", {}, {"o0": INTEGER}),
    task("text", {}, {"o0": STRING}),
    task("pair", {}, {"o0": INTEGER, "o1": INTEGER}),
    task("object", {}, {"o0": CLASS}),
    task("double", {"x": INTEGER}, {"o0": INTEGER}),
    task("total", {"xs": listed(INTEGER)}, {"o0": INTEGER}),
    task("paint", {"colour": enum("red", "blue")}),
    task("unclear", {"x": union(listed(INTEGER), listed(union(INTEGER, NONE)))}),
]
MAKE = node("n0", "make")


@dataclass(frozen=True)
class Case:
    """What is wrong, whom it is about, and what else is said of the same mistake."""

    compile: Callable[[], object]
    node: str = "n0"
    besides: frozenset[Code] = frozenset()


def of(*nodes: workflow_pb2.Node, sub_workflows: int = 0, **more: object) -> Callable[[], object]:
    template = workflow(*nodes, **more)
    inner = [workflow(MAKE, name="inner")] * sub_workflows
    return lambda: compiler.compile_workflow(template, inner, TASKS)


def branch(
    *cases: tuple[condition_pb2.BooleanExpression | None, workflow_pb2.Node | None], error: str = "no case fits"
) -> workflow_pb2.Node:
    """A branch `n1` on the output of `n0`."""
    blocks = [workflow_pb2.IfBlock(condition=condition, then_node=case) for condition, case in cases]
    if_else = workflow_pb2.IfElseBlock(case=blocks[0], other=blocks[1:])
    if error:
        if_else.error.message = error
    return workflow_pb2.Node(
        id="n1", inputs=bindings({"a": "n0.o0"}), branch_node=workflow_pb2.BranchNode(if_else=if_else)
    )


def when(variable: str = "a", wanted: object = 1) -> condition_pb2.BooleanExpression:
    left, right = condition_pb2.Operand(var=variable), condition_pb2.Operand(scalar=value(wanted).scalar)
    return condition_pb2.BooleanExpression(
        comparison=condition_pb2.ComparisonExpression(left_value=left, right_value=right)
    )


def approval(**bound: object) -> workflow_pb2.Node:
    return workflow_pb2.Node(id="n0", inputs=bindings(bound), gate_node=workflow_pb2.GateNode(approve={}))


def twice_bound() -> workflow_pb2.Node:
    one = node("n0", "double", x=1)
    one.inputs.extend(bindings({"x": 2}))
    return one


def aliased(target: str, *aliases: tuple[str, str]) -> workflow_pb2.Node:
    one = node("n0", target)
    one.output_aliases.extend(workflow_pb2.Alias(var=var, alias=alias) for var, alias in aliases)
    return one


def timed(seconds: int) -> workflow_pb2.Node:
    one = node("n0", "nothing")
    one.metadata.timeout.seconds = seconds
    return one


def demanding(quantity: str) -> workflow_pb2.Node:
    one = node("n0", "nothing")
    one.task_node.overrides.resources.requests.add(name=tasks_pb2.Resources.CPU, value=quantity)
    return one


def array_over(target: str, **bound: object) -> workflow_pb2.Node:
    array = workflow_pb2.ArrayNode(node=node("inner", target))
    return workflow_pb2.Node(id="n0", inputs=bindings(bound), array_node=array)


def two_tasks_of_one_name() -> object:
    closure = workflow_closure_pb2.WorkflowClosure(workflow=workflow(MAKE))
    closure.tasks.extend([task_template("make", {}, {"o0": INTEGER}), task_template("make")])
    return compiler.compile_closure(closure)


def a_plan(spec: launch_plan_pb2.LaunchPlanSpec) -> object:
    spec.workflow_id.CopyFrom(identifier("wf", "WORKFLOW"))
    plan = launch_plan_pb2.LaunchPlan(id=identifier("plan", "LAUNCH_PLAN"), spec=spec)
    return compiler.compile_launch_plan(plan, interface({"x": INTEGER}))


def fixing(name: str, literal: literals_pb2.Literal) -> Callable[[], object]:
    return lambda: a_plan(launch_plan_pb2.LaunchPlanSpec(fixed_inputs={"literals": {name: literal}}))


def twice_a_column() -> types_pb2.LiteralType:
    column = types_pb2.SchemaType.SchemaColumn
    columns = [column(name="a", type=column.INTEGER), column(name="a", type=column.STRING)]
    return types_pb2.LiteralType(schema=types_pb2.SchemaType(columns=columns))


NEWER = types_pb2.LiteralType.FromString(bytes([0xFA, 0x07, 0x00]))  # field 127, which today's types lack

CYCLE = (node("n0", "double", x="n1.o0"), node("n1", "double", x="n0.o0"))

CASES = [
    (Code.CYCLE_DETECTED, Case(of(sub_node("n0", "wf")), "")),
    (
        Code.CYCLE_DETECTED,
        Case(of(*CYCLE), "n0", frozenset({Code.NO_ENTRY_NODE_FOUND, Code.UNREACHABLE_NODES})),
    ),
    (Code.BRANCH_NODE_ID_NOT_FOUND, Case(of(MAKE, branch((when(), None))), "n1")),
    (Code.BRANCH_NODE_HAS_NO_CONDITION, Case(of(MAKE, branch((None, node("n0", "make")))), "n1")),
    (Code.BRANCH_NODE_HAS_NO_DEFAULT, Case(of(MAKE, branch((when(), node("n0", "make")), error="")), "n1")),
    (Code.VALUE_REQUIRED, Case(of(workflow_pb2.Node(id="n0")))),
    (Code.INVALID_VALUE, Case(of(node("a/b", "nothing")), "a/b")),
    (Code.NODE_REFERENCE_NOT_FOUND, Case(of(node("n0", "double", x="n9.o0")))),
    (Code.NODE_REFERENCE_NOT_FOUND, Case(of(node("n0", "make", after=("n9",))))),
    (Code.TASK_REFERENCE_NOT_FOUND, Case(of(node("n0", "absent")))),
    (Code.WORKFLOW_REFERENCE_NOT_FOUND, Case(of(sub_node("n0", "absent")))),
    (Code.WORKFLOW_REFERENCE_NOT_FOUND, Case(of(plan_node("n0", "absent")))),
    (Code.VARIABLE_NAME_NOT_FOUND, Case(of(node("n0", "double", x=1, y=1)))),
    (Code.DUPLICATE_ALIAS, Case(of(aliased("make", ("o0", "a"), ("o0", "b"))))),
    (Code.DUPLICATE_ID, Case(of(MAKE, node("n0", "text")))),
    (Code.DUPLICATE_ID, Case(of(sub_node("n0", "inner"), sub_workflows=2), "")),
    (Code.MISMATCHING_TYPES, Case(of(node("n0", "double", x=1.5)))),
    (Code.MISMATCHING_TYPES, Case(of(MAKE, branch((when(wanted="x"), node("n0", "make")))), "n1")),
    (Code.MISMATCHING_BINDINGS, Case(of(node("n0", "double", x=list_of())))),
    (Code.MISMATCHING_INTERFACES, Case(of(array_over("total", xs=list_of())))),
    (Code.MISMATCHING_INTERFACES, Case(fixing("y", value(1)), "")),
    (Code.INCONSISTENT_TYPES, Case(of(approval(a=list_of(constant(1), constant("b")))))),
    (Code.INCONSISTENT_TYPES, Case(of(MAKE, inputs={"a": listed(twice_a_column())}), "start-node")),
    (Code.PARAMETER_BOUND_MORE_THAN_ONCE, Case(of(twice_bound()))),
    (Code.PARAMETER_NOT_BOUND, Case(of(node("n0", "double")))),
    (
        Code.NO_ENTRY_NODE_FOUND,
        Case(of(*CYCLE), "start-node", frozenset({Code.CYCLE_DETECTED, Code.UNREACHABLE_NODES})),
    ),
    (Code.UNREACHABLE_NODES, Case(of(*CYCLE, node("n2", "make")), "start-node", frozenset({Code.CYCLE_DETECTED}))),
    (Code.UNRECOGNIZED_VALUE, Case(of(demanding("much")))),
    (Code.WORKFLOW_BUILD_ERROR, Case(of(sub_node("n" * 250, "inner"), sub_workflows=1), "n" * 50 + "…")),
    (Code.VALUE_COLLISION, Case(two_tasks_of_one_name, "")),
    (Code.VALUE_COLLISION, Case(of(aliased("pair", ("o0", "o1"))))),
    (Code.SYNTAX_ERROR, Case(of(timed(-1)))),
    (Code.SYNTAX_ERROR, Case(of(MAKE, node("n1", "double", x="n0.a-b")), "n1")),
    (Code.NO_NODES_FOUND, Case(of(), "")),
    (Code.NO_NODES_FOUND, Case(of(workflow_pb2.Node(id="start-node")), "")),
    (Code.ILLEGAL_ENUM_VALUE, Case(of(node("n0", "paint", colour=constant("green"))))),
    (Code.AMBIGUOUS_BINDING_UNION_VALUE, Case(of(node("n0", "unclear", x=list_of(constant(1)))))),
    (Code.INCOMPATIBLE_BINDING_UNION_VALUE, Case(of(node("n0", "unclear", x=list_of(constant("a")))))),
    (Code.NO_CONDITION_FOUND, Case(of(workflow_pb2.Node(id="n0", gate_node=workflow_pb2.GateNode())))),
    (Code.FIELD_NOT_FOUND, Case(of(node("n0", "object"), node("n1", "double", x=promise("n0.o0.age"))), "n1")),
    (Code.INVALID_LITERAL_TYPE, Case(of(MAKE, inputs={"a": listed(NEWER)}), "start-node")),
    (Code.INVALID_LITERAL_TYPE, Case(of(MAKE, inputs={"a": types_pb2.LiteralType(simple=77)}), "start-node")),
    (Code.INVALID_LITERAL_TYPE, Case(fixing("x", literals_pb2.Literal()), "")),
]


@pytest.mark.parametrize(("code", "case"), CASES, ids=[code.value for code, _ in CASES])
def test_a_mistake_is_reported_by_its_code_with_its_node_and_what_to_do(code: Code, case: Case) -> None:
    with pytest.raises(compiler.CompileErrors) as caught:
        case.compile()
    assert {error.code for error in caught.value.errors} == {code} | case.besides, caught.value.message
    [found] = [error for error in caught.value.errors if error.code is code]
    assert found.node == case.node
    # What is wrong, a colon or comma, and what to do about it.
    assert len(found.message.split()) > 5
    assert ": " in found.message or ", " in found.message


def test_every_code_has_a_case() -> None:
    assert {code for code, _ in CASES} == set(Code)


def test_there_are_the_codes_of_flyte() -> None:
    assert len(Code) == 31


def test_everything_that_is_wrong_with_a_workflow_is_told_at_once() -> None:
    template = workflow(
        node("n0", "absent"),
        node("n1", "double", ("n9",), x=1, y=2),
        node("n2", "double"),
        twice_bound(),
        node("n3", "make"),
        workflow_pb2.Node(id="n4", gate_node=workflow_pb2.GateNode()),
        array_over("total"),
        inputs={"a": INTEGER},
    )
    template.nodes[5].id, template.nodes[6].id = "n5", "n6"
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_workflow(template, (), TASKS)
    assert {(error.code, error.node) for error in caught.value.errors} == {
        (Code.TASK_REFERENCE_NOT_FOUND, "n0"),
        (Code.DUPLICATE_ID, "n0"),
        (Code.NODE_REFERENCE_NOT_FOUND, "n1"),
        (Code.VARIABLE_NAME_NOT_FOUND, "n1"),
        (Code.PARAMETER_NOT_BOUND, "n2"),
        (Code.NO_CONDITION_FOUND, "n5"),
        (Code.MISMATCHING_INTERFACES, "n6"),
        (Code.PARAMETER_NOT_BOUND, "n6"),
    }


def test_mistakes_in_the_tasks_that_a_closure_brings_are_told_with_those_of_its_nodes() -> None:
    broken = [task_template(name) for name in ("a", "b")]
    for one in broken:
        one.container.image = ""
    closure = workflow_closure_pb2.WorkflowClosure(workflow=workflow(node("n0", "absent")), tasks=broken)
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_closure(closure)
    assert [(error.code, error.message.split(":", 1)[0]) for error in caught.value.errors] == [
        (Code.VALUE_REQUIRED, "task p"),
        (Code.VALUE_REQUIRED, "task p"),
        (Code.TASK_REFERENCE_NOT_FOUND, "task p"),
    ]


def known_plan() -> compiler.LaunchPlanInterface:
    plan = launch_plan_pb2.LaunchPlan(
        id=identifier("plan", "LAUNCH_PLAN"),
        spec=launch_plan_pb2.LaunchPlanSpec(
            default_inputs=interface_pb2.ParameterMap(
                parameters={"y": interface_pb2.Parameter(var=interface_pb2.Variable(type=INTEGER), default=value(1))}
            ),
            fixed_inputs=literals_pb2.LiteralMap(literals={"z": value(1)}),
        ),
    )
    return compiler.compile_launch_plan(plan, interface({"x": INTEGER, "y": INTEGER, "z": INTEGER}, {"o0": INTEGER}))


# What a caller assumes of a launch plan or task that is only referred to, and what is said if it is otherwise.
ASSUMPTIONS = [
    (plan_node("n0", "plan", x=1), None),
    (plan_node("n0", "plan", x=1, y=2), None),
    (plan_node("n0", "plan"), Code.PARAMETER_NOT_BOUND),
    (plan_node("n0", "plan", x=1, w=2), Code.VARIABLE_NAME_NOT_FOUND),
    (plan_node("n0", "plan", x=1, z=2), Code.VARIABLE_NAME_NOT_FOUND),
    (plan_node("n0", "plan", x=1.5), Code.MISMATCHING_TYPES),
    (plan_node("n0", "plan", x=1, y=2.5), Code.MISMATCHING_TYPES),
    (node("n0", "double", x=1), None),
    (node("n0", "double"), Code.PARAMETER_NOT_BOUND),
    (node("n0", "double", x=1, w=2), Code.VARIABLE_NAME_NOT_FOUND),
    (node("n0", "double", x=1.5), Code.MISMATCHING_TYPES),
]


@pytest.mark.parametrize(("one", "code"), ASSUMPTIONS)
def test_a_reference_must_be_used_as_what_it_refers_to_is_declared(one: workflow_pb2.Node, code: Code | None) -> None:
    template = workflow(one, outputs={"o0": INTEGER}, returns={"o0": "n0.o0"})
    try:
        compiler.compile_workflow(template, (), TASKS, [known_plan()])
    except compiler.CompileErrors as errors:
        assert [(error.code, error.node) for error in errors.errors] == [(code, "n0")]
    else:
        assert code is None


@pytest.mark.parametrize("one", [plan_node("n0", "plan", x=1), node("n0", "double", x=1)])
def test_an_output_that_a_reference_does_not_have_cannot_be_read(one: workflow_pb2.Node) -> None:
    template = workflow(one, outputs={"o0": INTEGER}, returns={"o0": "n0.o7"})
    with pytest.raises(compiler.CompileErrors, match="outputs of n0 are: o0") as caught:
        compiler.compile_workflow(template, (), TASKS, [known_plan()])
    assert [error.code for error in caught.value.errors] == [Code.VARIABLE_NAME_NOT_FOUND]
