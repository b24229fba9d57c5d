"""Workflows for tests of the compiler, and the tasks that they use."""

from __future__ import annotations

from flyteidl.core import condition_pb2, interface_pb2, tasks_pb2, types_pb2, workflow_pb2

from libs.workflow import compiler
from libs.workflow.identity import EntityId
from tests.support.flytetypes import INTEGER, NONE, STRING, STRUCT, enum, listed, mapped, union, value, variables
from tests.support.templates import bindings, node, task, workflow

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


MAKE = node("n0", "make")


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


ONE_CASE = branch("n1", node("n0", "nothing"), a="n0.o0")


def gate(node_id: str, gate_node: workflow_pb2.GateNode, **bound: object) -> workflow_pb2.Node:
    return workflow_pb2.Node(id=node_id, inputs=bindings(bound), gate_node=gate_node)


def aliased(one: workflow_pb2.Node, *aliases: tuple[str, str]) -> workflow_pb2.Node:
    one.output_aliases.extend(workflow_pb2.Alias(var=var, alias=alias) for var, alias in aliases)
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


def plan(name: str, required: tuple[str, ...] = (), defaulted: tuple[str, ...] = ()) -> compiler.LaunchPlanInterface:
    variable = interface_pb2.Variable(type=INTEGER)
    parameters = {key: interface_pb2.Parameter(var=variable, required=True) for key in required}
    parameters |= {key: interface_pb2.Parameter(var=variable, default=value(1)) for key in defaulted}
    inputs = interface_pb2.ParameterMap(parameters=parameters)
    return compiler.LaunchPlanInterface(EntityId("p", "d", name, "v"), inputs, variables(o0=INTEGER))


def chain(length: int) -> workflow_pb2.WorkflowTemplate:
    nodes = [node("n0", "make")]
    nodes += [node(f"n{at}", "double", after=(f"n{at - 1}",), x=f"n{at - 1}.o0") for at in range(1, length)]
    return workflow(*nodes, outputs={"o0": INTEGER}, returns={"o0": f"n{length - 1}.o0"})
