from __future__ import annotations

import pytest
from flyteidl.core import literals_pb2, types_pb2, workflow_pb2

from libs.workflow import compiler
from libs.workflow.compiler import Code
from tests.support.compiling import MAKE, OPTIONAL, TASKS, aliased, branch, comparison, compiled, gate, plan
from tests.support.flytetypes import INTEGER
from tests.support.templates import constant, list_of, node, plan_node, promise, sub_node, workflow

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
