from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from types import FrameType

import pytest
from flyteidl.core import (
    condition_pb2,
    dynamic_job_pb2,
    interface_pb2,
    literals_pb2,
    tasks_pb2,
    types_pb2,
    workflow_pb2,
)

from libs.workflow import compiler
from libs.workflow.compiler import Code
from libs.workflow.identity import EntityId
from tests.support.flytetypes import (
    BOOLEAN,
    INTEGER,
    NONE,
    STRING,
    STRUCT,
    enum,
    listed,
    mapped,
    simple,
    union,
    value,
    variables,
)
from tests.support.templates import (
    bindings,
    constant,
    identifier,
    interface,
    list_of,
    map_of,
    node,
    plan_node,
    promise,
    sub_node,
    task,
    task_template,
    workflow,
)

OPTIONAL = union(INTEGER, NONE)
CLASS = types_pb2.LiteralType(
    simple=types_pb2.STRUCT, structure=types_pb2.TypeStructure(dataclass_type={"name": STRING, "tags": listed(STRING)})
)
TASKS = [
    task("nothing"),
    task("make", {}, {"o0": INTEGER}),
    task("text", {}, {"o0": STRING}),
    task("many", {}, {"o0": listed(INTEGER), "o1": mapped(STRING)}),
    task("object", {}, {"o0": CLASS, "o1": STRUCT}),
    task("double", {"x": INTEGER}, {"o0": INTEGER}),
    task("maybe", {"x": OPTIONAL}, {}),
    task("total", {"xs": listed(INTEGER)}, {"o0": INTEGER}),
    task("squares", {"xs": listed(INTEGER)}, {"o0": listed(INTEGER)}),
    task("labels", {"by": mapped(STRING)}, {}),
    task("paint", {"colour": enum("red", "blue")}, {}),
    task("either", {"x": union(listed(INTEGER), mapped(INTEGER))}, {}),
    task("unclear", {"x": union(listed(INTEGER), listed(OPTIONAL))}, {}),
    task("say", {"s": STRING}, {}),
]


def compiled(
    template: workflow_pb2.WorkflowTemplate,
    *sub_workflows: workflow_pb2.WorkflowTemplate,
    plans: tuple[compiler.LaunchPlanInterface, ...] = (),
) -> compiler.CompileErrors | None:
    """The errors of a workflow, or None."""
    try:
        compiler.compile_workflow(template, sub_workflows, TASKS, plans)
    except compiler.CompileErrors as errors:
        return errors
    return None


def comparison(var: str, constant_value: object) -> condition_pb2.BooleanExpression:
    return condition_pb2.BooleanExpression(
        comparison=condition_pb2.ComparisonExpression(
            left_value=condition_pb2.Operand(var=var),
            right_value=condition_pb2.Operand(scalar=value(constant_value).scalar),
        )
    )


def branch(
    node_id: str,
    *cases: workflow_pb2.Node,
    otherwise: workflow_pb2.Node | None = None,
    condition: condition_pb2.BooleanExpression | None = None,
    **bound: object,
) -> workflow_pb2.Node:
    blocks = [
        workflow_pb2.IfBlock(condition=condition or comparison(next(iter(bound)), 1), then_node=case) for case in cases
    ]
    if_else = workflow_pb2.IfElseBlock(case=blocks[0], other=blocks[1:])
    if otherwise is None:
        if_else.error.message = "no case fits"
    else:
        if_else.else_node.CopyFrom(otherwise)
    return workflow_pb2.Node(id=node_id, inputs=bindings(bound), branch_node=workflow_pb2.BranchNode(if_else=if_else))


def without(one: workflow_pb2.Node, field: str) -> workflow_pb2.Node:
    """A copy of a branch node whose `if_else` lacks a field."""
    copy = workflow_pb2.Node()
    copy.CopyFrom(one)
    *path, last = field.split(".")
    inside = copy.branch_node.if_else
    for step in path:
        inside = getattr(inside, step)
    inside.ClearField(last)
    return copy


def gate(node_id: str, gate_node: workflow_pb2.GateNode, **bound: object) -> workflow_pb2.Node:
    return workflow_pb2.Node(id=node_id, inputs=bindings(bound), gate_node=gate_node)


def aliased(one: workflow_pb2.Node, *aliases: tuple[str, str]) -> workflow_pb2.Node:
    one.output_aliases.extend(workflow_pb2.Alias(var=var, alias=alias) for var, alias in aliases)
    return one


def bound_twice() -> workflow_pb2.Node:
    one = node("n0", "double", x=1)
    one.inputs.extend(bindings({"x": 2}))
    return one


def bound_to_nothing() -> workflow_pb2.Node:
    one = node("n0", "double")
    one.inputs.add(var="x")
    return one


def timed(seconds: int, nanos: int) -> workflow_pb2.Node:
    one = node("n0", "nothing")
    one.metadata.timeout.seconds = seconds
    one.metadata.timeout.nanos = nanos
    return one


def demanding(quantity: str) -> workflow_pb2.Node:
    one = node("n0", "nothing")
    one.task_node.overrides.resources.requests.add(name=tasks_pb2.Resources.CPU, value=quantity)
    return one


ONE_CASE = branch("n1", node("n0", "nothing"), a="n0.o0")
MAKE = node("n0", "make")
UNTYPED = workflow(MAKE)
UNTYPED.interface.inputs.variables["x"].description = "without type"

# (workflow, code, node, part of the message)
MISTAKES = [
    (workflow(), Code.NO_NODES_FOUND, "", "no nodes"),
    (UNTYPED, Code.VALUE_REQUIRED, "start-node", "input 'x' of the workflow has no type"),
    (workflow(node("", "make")), Code.VALUE_REQUIRED, "", "has no id"),
    (workflow(MAKE, node("n0", "text")), Code.DUPLICATE_ID, "n0", "more than one node"),
    (workflow(MAKE, ONE_CASE, node("n1-n0", "make")), Code.DUPLICATE_ID, "n1-n0", "more than one node"),
    (workflow(workflow_pb2.Node(id="n0")), Code.VALUE_REQUIRED, "n0", "no target"),
    (workflow(workflow_pb2.Node(id="n0", task_node={})), Code.VALUE_REQUIRED, "n0", "refers to nothing"),
    (workflow(node("n0", "absent")), Code.TASK_REFERENCE_NOT_FOUND, "n0", "p:d:absent:v is not registered"),
    (workflow(sub_node("n0", "absent")), Code.WORKFLOW_REFERENCE_NOT_FOUND, "n0", "sub-workflow p:d:absent:v"),
    (workflow(plan_node("n0", "absent")), Code.WORKFLOW_REFERENCE_NOT_FOUND, "n0", "launch plan p:d:absent:v"),
    (workflow(node("n0", "double", x="n9.o0")), Code.NODE_REFERENCE_NOT_FOUND, "n0", "'n9'"),
    (workflow(node("n0", "make", after=("n9",))), Code.NODE_REFERENCE_NOT_FOUND, "n0", "'n9'"),
    (workflow(MAKE, ONE_CASE, node("n2", "double", x="n1-n0.o0")), Code.NODE_REFERENCE_NOT_FOUND, "n2", "'n1-n0'"),
    (workflow(MAKE, node("n1", "double", x="n0.o9")), Code.VARIABLE_NAME_NOT_FOUND, "n1", "outputs of n0 are: o0"),
    (workflow(MAKE, node("n1", "double", x="n0.o0", y=1)), Code.VARIABLE_NAME_NOT_FOUND, "n1", "inputs are: x"),
    (workflow(node("n0", "double")), Code.PARAMETER_NOT_BOUND, "n0", "input 'x' (INTEGER) is not bound"),
    (workflow(MAKE, outputs={"o0": INTEGER}), Code.PARAMETER_NOT_BOUND, "end-node", "'o0'"),
    (workflow(bound_twice()), Code.PARAMETER_BOUND_MORE_THAN_ONCE, "n0", "'x'"),
    (workflow(bound_to_nothing()), Code.VALUE_REQUIRED, "n0", "nothing is bound to input 'x'"),
    (
        workflow(node("n0", "text"), node("n1", "double", x="n0.o0")),
        Code.MISMATCHING_TYPES,
        "n1",
        "input 'x' is INTEGER, but n0.o0 is STRING",
    ),
    (workflow(node("n0", "double", x=1.5)), Code.MISMATCHING_TYPES, "n0", "constant bound to it is FLOAT"),
    (
        workflow(node("n0", "total", xs=list_of(constant(1), constant("a")))),
        Code.MISMATCHING_TYPES,
        "n0",
        "input 'xs'[1] is INTEGER",
    ),
    (
        workflow(node("n0", "labels", by=map_of(k=constant(1)))),
        Code.MISMATCHING_TYPES,
        "n0",
        "input 'by'['k'] is STRING",
    ),
    (workflow(node("n0", "double", x=list_of())), Code.MISMATCHING_BINDINGS, "n0", "a list is bound"),
    (
        workflow(node("n0", "double", x=literals_pb2.BindingData())),
        Code.MISMATCHING_BINDINGS,
        "n0",
        "nothing is bound",
    ),
    (workflow(node("n0", "paint", colour=constant("green"))), Code.ILLEGAL_ENUM_VALUE, "n0", "'green'"),
    (
        workflow(node("n0", "either", x=list_of(constant("a")))),
        Code.INCOMPATIBLE_BINDING_UNION_VALUE,
        "n0",
        "fits no variant",
    ),
    (
        workflow(node("n0", "unclear", x=list_of(constant(1)))),
        Code.AMBIGUOUS_BINDING_UNION_VALUE,
        "n0",
        "LIST[INTEGER] and LIST[INTEGER | NONE]",
    ),
    (
        workflow(node("n0", "double", x=literals_pb2.BindingData(scalar=literals_pb2.Scalar()))),
        Code.UNRECOGNIZED_VALUE,
        "n0",
        "no known type",
    ),
    (workflow(demanding("much")), Code.UNRECOGNIZED_VALUE, "n0", "requests.CPU: 'much'"),
    (workflow(timed(-1, 0)), Code.SYNTAX_ERROR, "n0", "timeout"),
    (workflow(MAKE, node("n1", "double", x="n0.a-b")), Code.SYNTAX_ERROR, "n1", "'a-b'"),
    (
        workflow(MAKE, node("n1", "double", x=promise("n0.o0[0]"))),
        Code.FIELD_NOT_FOUND,
        "n1",
        "n0.o0[0] goes through INTEGER",
    ),
    (
        workflow(node("n0", "object"), node("n1", "say", s="n0.o0.nickname")),
        Code.FIELD_NOT_FOUND,
        "n1",
        "its fields are: name, tags",
    ),
    (
        workflow(node("n0", "object"), node("n1", "double", x="n0.o0.name")),
        Code.MISMATCHING_TYPES,
        "n1",
        "n0.o0.name is STRING",
    ),
    (workflow(aliased(node("n0", "make"), ("o0", "a"), ("o0", "b"))), Code.DUPLICATE_ALIAS, "n0", "aliased twice"),
    (workflow(aliased(node("n0", "make"), ("o9", "a"))), Code.PARAMETER_NOT_BOUND, "n0", "'o9'"),
    (
        workflow(node("n0", "double", x="n1.o0"), node("n1", "double", x="n0.o0")),
        Code.CYCLE_DETECTED,
        "n0",
        "n0 > n1 > n0",
    ),
    (
        workflow(node("n0", "double", x="n1.o0"), node("n1", "double", x="n0.o0")),
        Code.UNREACHABLE_NODES,
        "start-node",
        "n0, n1",
    ),
    (
        workflow(MAKE, branch("n1", node("n0", "double", x="n2.o0"), a="n0.o0"), node("n2", "make", after=("n1",))),
        Code.CYCLE_DETECTED,
        "n2",
        "n2 > n1 > n2",
    ),
    (workflow(sub_node("n0", "wf")), Code.CYCLE_DETECTED, "", "p:d:wf:v"),
    (workflow(MAKE, without(ONE_CASE, "default")), Code.BRANCH_NODE_HAS_NO_DEFAULT, "n1", "neither an else"),
    (workflow(MAKE, without(ONE_CASE, "error")), Code.BRANCH_NODE_HAS_NO_DEFAULT, "n1", "neither an else"),
    (workflow(MAKE, without(ONE_CASE, "case")), Code.BRANCH_NODE_HAS_NO_CONDITION, "n1", "no first case"),
    (workflow(MAKE, without(ONE_CASE, "case.condition")), Code.BRANCH_NODE_HAS_NO_CONDITION, "n1", "no condition"),
    (workflow(MAKE, without(ONE_CASE, "case.then_node")), Code.BRANCH_NODE_ID_NOT_FOUND, "n1", "has no node"),
    (
        workflow(MAKE, branch("n1", node("n0", "nothing"), condition=comparison("b", 1), a="n0.o0")),
        Code.VARIABLE_NAME_NOT_FOUND,
        "n1",
        "bound are: a",
    ),
    (
        workflow(MAKE, branch("n1", node("n0", "nothing"), condition=comparison("a", "x"), a="n0.o0")),
        Code.MISMATCHING_TYPES,
        "n1",
        "compares INTEGER with STRING",
    ),
    (
        workflow(MAKE, without(ONE_CASE, "case.condition.comparison.left_value")),
        Code.VALUE_REQUIRED,
        "n1",
        "left side",
    ),
    (
        workflow(MAKE, branch("n1", node("n0", "make"), node("n1", "text"), a="n0.o0")),
        Code.MISMATCHING_TYPES,
        "n1-n1",
        "than in case n1-n0",
    ),
    (workflow(gate("n0", workflow_pb2.GateNode())), Code.NO_CONDITION_FOUND, "n0", "waits for nothing"),
    (
        workflow(gate("n0", workflow_pb2.GateNode(signal=workflow_pb2.SignalCondition(output_variable_name="o0")))),
        Code.VALUE_REQUIRED,
        "n0",
        "gate_node.signal.type",
    ),
    (
        workflow(gate("n0", workflow_pb2.GateNode(signal=workflow_pb2.SignalCondition(type=INTEGER)))),
        Code.VALUE_REQUIRED,
        "n0",
        "output_variable_name",
    ),
    (workflow(node("a/b", "nothing")), Code.INVALID_VALUE, "a/b", "fit for a folder"),
    (workflow(node("..", "nothing")), Code.INVALID_VALUE, "..", "fit for a folder"),
    (workflow(node("a\nb", "nothing")), Code.INVALID_VALUE, "a\nb", "fit for a folder"),
    (workflow(node("ü" * 128, "nothing")), Code.INVALID_VALUE, "ü" * 50 + "…", "256 bytes: shorten it, at most 255"),
    (
        workflow(MAKE, branch("n" * 200, node("m" * 60, "nothing"), a="n0.o0")),
        Code.INVALID_VALUE,
        "n" * 50 + "…",
        "261 bytes",
    ),
    (workflow(sub_node("n0", "inner"), node("n0-0-n1", "nothing")), Code.INVALID_VALUE, "n0-0-n1", "inside node n0"),
]


@pytest.mark.parametrize(("template", "code", "node_id", "part"), MISTAKES)
def test_each_mistake_has_its_code_its_node_and_a_sentence(
    template: workflow_pb2.WorkflowTemplate, code: Code, node_id: str, part: str
) -> None:
    errors = compiled(template)
    assert errors is not None
    found = [error for error in errors.errors if error.code is code and error.node == node_id]
    assert found, errors.message
    assert any(part in error.message for error in found), errors.message


def test_all_mistakes_are_reported_together_sub_workflows_included() -> None:
    inner = workflow(node("n0", "double"), name="inner")
    errors = compiled(workflow(node("n0", "absent"), node("n1", "double", x="n0.o0"), sub_node("n2", "inner")), inner)
    assert errors is not None
    assert [(error.code, error.node, error.workflow) for error in errors.errors] == [
        (Code.TASK_REFERENCE_NOT_FOUND, "n0", ""),
        (Code.PARAMETER_NOT_BOUND, "n0", "p:d:inner:v"),
    ]
    assert errors.message.startswith("Collected Errors: 2 in workflow p:d:wf:v")
    assert "node n0 of sub-workflow p:d:inner:v" in errors.message


def test_the_names_of_nodes_inside_sub_workflows_are_short_enough_for_folders_too() -> None:
    innermost = workflow(node("c" * 100, "nothing"), name="innermost")
    inner = workflow(sub_node("b" * 100, "innermost"), name="inner")
    assert compiled(inner, innermost) is None
    errors = compiled(workflow(sub_node("a" * 60, "inner")), inner, innermost)
    assert errors is not None
    assert [(error.code, error.workflow) for error in errors.errors] == [(Code.WORKFLOW_BUILD_ERROR, "")]
    assert "grows to 272 bytes" in errors.message


def test_sub_workflows_may_be_nested_deeply() -> None:
    depth = 2000
    nested = [workflow(sub_node("n", f"w{level + 1}"), name=f"w{level}") for level in range(depth)]
    errors = compiled(workflow(sub_node("n", "w0")), *nested, workflow(node("n", "nothing"), name=f"w{depth}"))
    assert errors is not None
    assert all(error.code is Code.WORKFLOW_BUILD_ERROR for error in errors.errors)


def test_thousands_of_mistakes_make_a_message_that_can_be_sent() -> None:
    errors = compiled(workflow(*(node(f"n{number}", "absent") for number in range(3000))))
    assert errors is not None
    assert len(errors.errors) == 3000
    assert len(errors.message) < 20_000


SOUND = [
    workflow(MAKE, node("n1", "double", x="n0.o0")),
    workflow(node("n0", "double", x="a"), inputs={"a": INTEGER}, outputs={"o0": INTEGER}, returns={"o0": "n0.o0"}),
    workflow(node("n0", "maybe")),
    workflow(MAKE, node("n1", "maybe", x="n0.o0")),
    workflow(node("n0", "total", xs=list_of())),
    workflow(MAKE, node("n1", "total", xs=list_of(promise("n0.o0"), constant(1)))),
    workflow(node("n0", "either", x=list_of(constant(1)))),
    workflow(node("n0", "many"), node("n1", "double", x="n0.o0[2]")),
    workflow(node("n0", "many"), node("n1", "say", s="n0.o1.key")),
    workflow(node("n0", "object"), node("n1", "say", s="n0.o0.tags[0]")),
    workflow(node("n0", "object"), node("n1", "double", x="n0.o1.deep[0].down")),
    workflow(node("n0", "paint", colour=constant("red"))),
    workflow(aliased(node("n0", "make"), ("o0", "number")), node("n1", "double", x="n0.number")),
    workflow(
        MAKE, branch("n1", node("n0", "make"), otherwise=node("n1", "make"), a="n0.o0"), node("n2", "double", x="n1.o0")
    ),
    workflow(MAKE, branch("n1", node("n0", "nothing"), condition=comparison("a", None), a="x"), inputs={"x": OPTIONAL}),
    workflow(MAKE, gate("n1", workflow_pb2.GateNode(approve={}), o0="n0.o0"), node("n2", "double", x="n1.o0")),
    workflow(
        gate("n0", workflow_pb2.GateNode(signal={"type": INTEGER, "output_variable_name": "o0"})),
        node("n1", "double", x="n0.o0"),
    ),
    workflow(gate("n0", workflow_pb2.GateNode(sleep={}))),
]


@pytest.mark.parametrize("template", SOUND)
def test_a_sound_workflow_compiles_and_is_not_changed(template: workflow_pb2.WorkflowTemplate) -> None:
    before = template.SerializeToString(deterministic=True)
    errors = compiled(template)
    assert errors is None, errors.message
    assert template.SerializeToString(deterministic=True) == before


def test_an_element_in_the_old_notation_is_understood() -> None:
    old = literals_pb2.BindingData(promise=types_pb2.OutputReference(node_id="n0", var="[1].o0"))
    assert compiled(workflow(node("n0", "many"), node("n1", "double", x=old))) is None
    errors = compiled(workflow(node("n0", "make"), node("n1", "double", x=old)))
    assert errors is not None
    assert "has no elements" in errors.message


def test_requirements_name_what_is_not_given_along() -> None:
    outer = workflow(sub_node("n0", "inner"), sub_node("n1", "elsewhere"), sub_node("n2", "wf"))
    found = compiler.requirements(outer, [workflow(sub_node("n0", "far"), name="inner")])
    assert [one.name for one in found.sub_workflows] == ["elsewhere", "far"]


def dynamic_spec() -> dynamic_job_pb2.DynamicJobSpec:
    return dynamic_job_pb2.DynamicJobSpec(
        nodes=[
            node("dn0", "mine", x=1),
            node("dn1", "double", x="dn0.o0"),
            sub_node("dn2", "inner"),
            plan_node("dn3", "plan", x="dn1.o0"),
        ],
        outputs=bindings({"o0": "dn3.o0", "o1": list_of(promise("dn0.o0"))}),
        tasks=[task_template("mine", {"x": INTEGER}, {"o0": INTEGER})],
    )


def test_what_a_dynamic_job_refers_to_is_known_before_it_is_compiled() -> None:
    needed = compiler.dynamic_requirements(dynamic_spec())
    assert [one.name for one in needed.tasks] == ["double"]
    assert [one.name for one in needed.launch_plans] == ["plan"]
    assert [one.name for one in needed.sub_workflows] == ["inner"]


def test_a_dynamic_job_uses_what_is_at_hand_beside_what_it_brings() -> None:
    inner = workflow(node("n0", "text"), name="inner")
    closure = compiler.compile_dynamic(
        dynamic_spec(),
        identifier("parent", "WORKFLOW"),
        interface({"n": INTEGER}, {"o0": INTEGER, "o1": listed(INTEGER)}),
        TASKS,
        [plan("plan", required=("x",))],
        [inner],
    )
    assert [one.template.id.name for one in closure.tasks] == ["mine", "double", "text"]
    assert [one.template.id.name for one in closure.sub_workflows] == ["inner"]
    assert not closure.primary.template.interface.inputs.variables
    without_interface = compiler.compile_dynamic(
        dynamic_spec(), identifier("parent", "WORKFLOW"), None, TASKS, [plan("plan", required=("x",))], [inner]
    )
    for name, variable in closure.primary.template.interface.outputs.variables.items():
        assert without_interface.primary.template.interface.outputs.variables[name].type == variable.type


def test_a_dynamic_job_must_return_what_its_task_declares() -> None:
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_dynamic(
            dynamic_spec(),
            identifier("parent", "WORKFLOW"),
            interface({}, {"o0": STRING, "o1": listed(INTEGER), "o2": INTEGER}),
            TASKS,
            [plan("plan", required=("x",))],
            [workflow(node("n0", "text"), name="inner")],
        )
    assert [(error.code, error.node) for error in caught.value.errors] == [
        (Code.MISMATCHING_TYPES, "end-node"),
        (Code.PARAMETER_NOT_BOUND, "end-node"),
    ]


def test_the_closure_has_only_the_tasks_and_sub_workflows_that_are_used() -> None:
    inner = workflow(node("n0", "text"), name="inner")
    unused = workflow(node("n0", "many"), name="unused")
    closure = compiler.compile_workflow(workflow(MAKE, sub_node("n1", "inner")), [inner, unused], TASKS)
    assert [task.template.id.name for task in closure.tasks] == ["make", "text"]
    assert [sub.template.id.name for sub in closure.sub_workflows] == ["inner"]
    assert closure.sub_workflows[0].template.nodes[0].id == "start-node"


def test_requirements_reach_into_branches_arrays_sub_workflows_and_failure_nodes() -> None:
    array = workflow_pb2.Node(id="n3", array_node=workflow_pb2.ArrayNode(node=plan_node("n0", "plan")))
    outer = workflow(
        MAKE,
        branch("n1", node("n0", "double", x="n0.o0"), otherwise=node("n1", "say"), a="n0.o0"),
        sub_node("n2", "inner"),
        array,
    )
    outer.failure_node.CopyFrom(node("fn0", "nothing"))
    inner = workflow(node("n0", "text"), name="inner")
    found = compiler.requirements(outer, [inner, workflow(node("n0", "many"), name="unused")])
    assert [one.name for one in found.tasks] == ["make", "double", "say", "nothing", "text"]
    assert [one.name for one in found.launch_plans] == ["plan"]


def plan(name: str, required: tuple[str, ...] = (), defaulted: tuple[str, ...] = ()) -> compiler.LaunchPlanInterface:
    variable = interface_pb2.Variable(type=INTEGER)
    parameters = {key: interface_pb2.Parameter(var=variable, required=True) for key in required}
    parameters |= {key: interface_pb2.Parameter(var=variable, default=value(1)) for key in defaulted}
    inputs = interface_pb2.ParameterMap(parameters=parameters)
    return compiler.LaunchPlanInterface(EntityId("p", "d", name, "v"), inputs, variables(o0=INTEGER))


def test_a_launch_plan_node_must_bind_what_has_no_default() -> None:
    known = (plan("plan", required=("x",), defaulted=("y",)),)
    assert compiled(workflow(plan_node("n0", "plan", x=1)), plans=known) is None
    assert compiled(workflow(plan_node("n0", "plan", x=1, y=2)), plans=known) is None
    errors = compiled(workflow(plan_node("n0", "plan", y=2)), plans=known)
    assert errors is not None
    assert [(error.code, error.node) for error in errors.errors] == [(Code.PARAMETER_NOT_BOUND, "n0")]


def test_a_workflow_may_run_its_own_launch_plan() -> None:
    template = workflow(MAKE, plan_node("n1", "wf", a="n0.o0"), inputs={"a": INTEGER})
    assert compiled(template) is None


@pytest.mark.parametrize(("ratio", "readable"), [(1.0, INTEGER), (0.5, OPTIONAL)])
def test_an_array_over_a_launch_plan_takes_and_gives_lists(ratio: float, readable: types_pb2.LiteralType) -> None:
    array = workflow_pb2.ArrayNode(node=plan_node("plan", "plan"), min_success_ratio=ratio, bound_inputs=["y"])
    array.is_original_sub_node_interface.value = True
    one = workflow_pb2.Node(id="n0", inputs=bindings({"x": "xs", "y": 1}), array_node=array)
    template = workflow(one, inputs={"xs": listed(INTEGER)}, outputs={"o0": listed(readable)}, returns={"o0": "n0.o0"})
    assert compiled(template, plans=(plan("plan", required=("x", "y")),)) is None


def test_an_array_over_a_map_task_has_the_interface_of_that_task() -> None:
    array = workflow_pb2.ArrayNode(node=node("squares", "squares"))
    one = workflow_pb2.Node(id="n0", inputs=bindings({"xs": "xs"}), array_node=array)
    template = workflow(one, node("n1", "total", xs="n0.o0"), inputs={"xs": listed(INTEGER)})
    assert compiled(template) is None


def array(of: workflow_pb2.Node, **fields: object) -> workflow_pb2.Node:
    return workflow_pb2.Node(id="n0", inputs=of.inputs, array_node=workflow_pb2.ArrayNode(node=of, **fields))


# (array node, code, part of the message)
BAD_ARRAYS = [
    (array(workflow_pb2.Node()), Code.VALUE_REQUIRED, "array_node.node runs no task"),
    (array(gate("g", workflow_pb2.GateNode(sleep={}))), Code.VALUE_REQUIRED, "array_node.node runs no task"),
    (array(node("n0", "absent")), Code.TASK_REFERENCE_NOT_FOUND, "p:d:absent:v"),
    (array(node("t", "squares", xs=list_of()), bound_inputs=["y"]), Code.VARIABLE_NAME_NOT_FOUND, "bound_inputs"),
    (array(node("t", "squares", xs=list_of()), min_success_ratio=1.5), Code.INVALID_VALUE, "1.5 is not a share"),
    (array(node("t", "total", xs=list_of())), Code.MISMATCHING_INTERFACES, "output 'o0' in a list"),
    (array(node("t", "maybe")), Code.MISMATCHING_INTERFACES, "none of x is a list"),
    (array(timed(-1, 0)), Code.SYNTAX_ERROR, "timeout"),
    (array(demanding("much")), Code.UNRECOGNIZED_VALUE, "requests.CPU"),
]


@pytest.mark.parametrize(("one", "code", "part"), BAD_ARRAYS)
def test_what_is_wrong_inside_an_array_is_reported_of_the_array(one: workflow_pb2.Node, code: Code, part: str) -> None:
    errors = compiled(workflow(one))
    assert errors is not None
    assert [(error.code, error.node) for error in errors.errors] == [(code, "n0")]
    assert part in errors.message


def approved(**bound: object) -> workflow_pb2.Node:
    return gate("n1", workflow_pb2.GateNode(approve={}), **bound)


def test_what_is_bound_to_a_gate_in_a_list_or_map_comes_out_as_one() -> None:
    bound = {"xs": list_of(promise("n0.o0"), constant(1)), "by": map_of(k=constant("a"))}
    readers = (node("n2", "total", xs="n1.xs"), node("n3", "labels", by="n1.by"))
    assert compiled(workflow(MAKE, approved(**bound), *readers)) is None


@pytest.mark.parametrize("items", [(constant(1), promise("a")), (promise("a"), constant(1))])
def test_the_type_of_a_list_at_a_gate_is_the_widest_of_its_elements(items: tuple[literals_pb2.BindingData]) -> None:
    reader = node("n2", "total", xs="n1.xs")
    errors = compiled(workflow(approved(xs=list_of(*items)), reader, inputs={"a": OPTIONAL}))
    assert errors is not None
    assert "n1.xs is LIST[INTEGER | NONE]" in errors.message


def test_an_output_of_unknown_type_can_be_read_through_a_gate() -> None:
    gate_node = approved(o0="n0.o1.anything")
    assert compiled(workflow(node("n0", "object"), gate_node, node("n2", "double", x="n1.o0"))) is None


def test_a_branch_waits_for_what_its_cases_read_only_through_their_own_connections() -> None:
    template = workflow(MAKE, node("n1", "make"), branch("n2", node("n0", "double", x="n1.o0"), a="n0.o0"))
    primary = compiler.compile_workflow(template, (), TASKS).primary
    upstream = {key: list(ids.ids) for key, ids in primary.connections.upstream.items()}
    downstream = {key: list(ids.ids) for key, ids in primary.connections.downstream.items()}
    assert upstream == {
        "n0": ["start-node"],
        "n1": ["start-node"],
        "n2": ["n0"],
        "n2-n0": ["n1"],
        "end-node": ["n1", "n2"],
    }
    assert downstream == {"start-node": ["n0", "n1"], "n0": ["n2"], "n1": ["end-node"], "n2": ["end-node"]}


def test_the_failure_node_reads_but_nobody_waits_for_it() -> None:
    template = workflow(MAKE, inputs={"a": INTEGER})
    template.failure_node.CopyFrom(node("fn0", "double", x="a"))
    primary = compiler.compile_workflow(template, (), TASKS).primary
    assert list(primary.connections.upstream["fn0"].ids) == ["start-node"]
    assert "fn0" not in primary.connections.downstream["start-node"].ids
    assert [one.id for one in primary.template.nodes] == ["start-node", "end-node", "n0"]


def test_promises_of_inputs_name_the_start_node_and_upstream_ids_never_do() -> None:
    one = node("n0", "double", x="a", after=("start-node", ""))
    primary = compiler.compile_workflow(
        workflow(one, inputs={"a": INTEGER}, outputs={"b": INTEGER}, returns={"b": "a"}), (), TASKS
    ).primary
    assert primary.template.nodes[2].inputs[0].binding.promise.node_id == "start-node"
    assert primary.template.outputs[0].binding.promise.node_id == "start-node"
    assert list(primary.template.nodes[2].upstream_node_ids) == []
    assert list(primary.connections.upstream["end-node"].ids) == ["n0", "start-node"]


def test_a_long_chain_of_gates_written_backwards_compiles() -> None:
    length = 3000
    gates = [
        gate(f"g{number}", workflow_pb2.GateNode(approve={}), o0=f"g{number - 1}.o0" if number else "a")
        for number in reversed(range(length))
    ]
    template = workflow(*gates, inputs={"a": BOOLEAN}, outputs={"o0": BOOLEAN}, returns={"o0": f"g{length - 1}.o0"})
    assert compiled(template) is None


def chain(length: int) -> workflow_pb2.WorkflowTemplate:
    nodes = [node("n0", "make")]
    nodes += [node(f"n{at}", "double", after=(f"n{at - 1}",), x=f"n{at - 1}.o0") for at in range(1, length)]
    return workflow(*nodes, outputs={"o0": INTEGER}, returns={"o0": f"n{length - 1}.o0"})


def star(length: int) -> workflow_pb2.WorkflowTemplate:
    """Everything reads the first node and is read by the last."""
    middle = [node(f"n{at}", "double", x="first.o0") for at in range(length)]
    gathered = list_of(*(promise(f"n{at}.o0") for at in range(length)))
    return workflow(*middle, node("first", "make"), node("last", "total", xs=gathered))


def branches(length: int) -> workflow_pb2.WorkflowTemplate:
    return workflow(
        MAKE, *(branch(f"b{at}", node("n0", "make"), otherwise=node("n1", "make"), a="n0.o0") for at in range(length))
    )


def wrong(length: int) -> workflow_pb2.WorkflowTemplate:
    return workflow(*(node(f"n{at}", "double", y=f"n{at + 1}.o7") for at in range(length)))


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, ours and built-in ones: the same in every run, unlike time."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def compiling(template: workflow_pb2.WorkflowTemplate) -> Callable[[], object]:
    return lambda: compiled(template)


@pytest.mark.parametrize("shape", [chain, star, branches, wrong])
def test_the_work_per_node_does_not_grow_with_the_workflow(
    shape: Callable[[int], workflow_pb2.WorkflowTemplate],
) -> None:
    few, many = calls(compiling(shape(300))), calls(compiling(shape(3000)))
    assert many < 10.2 * few


def test_a_dynamic_job_is_compiled_with_the_same_work_per_node() -> None:
    def generated(length: int) -> Callable[[], object]:
        template = chain(length)
        spec = dynamic_job_pb2.DynamicJobSpec(
            nodes=template.nodes, outputs=template.outputs, tasks=[one.template for one in TASKS]
        )
        return lambda: compiler.compile_dynamic(spec, template.id, template.interface)

    assert calls(generated(3000)) < 10.2 * calls(generated(300))


def test_ten_thousand_nodes_of_half_a_kilobyte_compile_in_three_seconds_and_500_megabytes() -> None:
    said = constant("x" * 900)
    template = chain(5_000)
    template.nodes.extend(node(f"s{at}", "say", s=said) for at in range(5_000))
    assert template.ByteSize() > 5_000_000
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    closure = compiler.compile_workflow(template, (), TASKS)
    assert time.perf_counter() - start < 3
    assert len(closure.primary.template.nodes) == 10_002
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 500 * 1024


BAD_TASKS = [
    (tasks_pb2.TaskTemplate(container=tasks_pb2.Container(image="i")), Code.VALUE_REQUIRED, "id is missing"),
    (
        tasks_pb2.TaskTemplate(
            id=identifier("t"), interface=interface({"x": INTEGER}), container=tasks_pb2.Container(image="i")
        ),
        Code.VALUE_REQUIRED,
        "container.args",
    ),
    (tasks_pb2.TaskTemplate(id=identifier("t"), container={}), Code.VALUE_REQUIRED, "container.image"),
    (
        tasks_pb2.TaskTemplate(
            id=identifier("t"),
            container=tasks_pb2.Container(
                image="i", resources={"limits": [{"name": tasks_pb2.Resources.MEMORY, "value": "lots"}]}
            ),
        ),
        Code.UNRECOGNIZED_VALUE,
        "limits.MEMORY",
    ),
    (tasks_pb2.TaskTemplate(id=identifier("t"), k8s_pod={}), Code.VALUE_REQUIRED, "pod_spec"),
    (
        tasks_pb2.TaskTemplate(id=identifier("t"), k8s_pod={"pod_spec": {"containers": [{"name": "No Label"}]}}),
        Code.INVALID_VALUE,
        "containers[0].name",
    ),
    (
        tasks_pb2.TaskTemplate(id=identifier("t"), k8s_pod={"pod_spec": {"containers": "one"}}),
        Code.INVALID_VALUE,
        "must be a list",
    ),
]


@pytest.mark.parametrize(("template", "code", "part"), BAD_TASKS)
def test_a_task_that_is_not_complete_is_refused(template: tasks_pb2.TaskTemplate, code: Code, part: str) -> None:
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_task(template)
    assert any(error.code is code and part in error.message for error in caught.value.errors), caught.value.message


def test_a_complete_task_is_wrapped_as_it_is() -> None:
    template = task_template("t", {"x": INTEGER, "when": simple("DATETIME")})
    assert compiler.compile_task(template).template == template
