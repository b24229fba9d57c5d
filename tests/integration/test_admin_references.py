"""Workflows that name others and do not bring them: these are taken from what is registered."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from flyteidl.admin import common_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, condition_pb2, identifier_pb2
from flyteidl.core import workflow_pb2 as core

from tests.support import flyte, templates
from tests.support.smalltasks import Registrar

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def registrar(user: flyte.Client) -> Iterator[Registrar]:
    with user.stubs() as stubs:
        yield Registrar(stubs)


def runs(registrar: Registrar, node_id: str, workflow: str) -> core.Node:
    """A node that runs a workflow as part of its own."""
    reference = registrar.id(identifier_pb2.WORKFLOW, workflow)
    return core.Node(id=node_id, workflow_node=core.WorkflowNode(sub_workflow_ref=reference))


def does(registrar: Registrar, node_id: str, task: str) -> core.Node:
    return core.Node(id=node_id, task_node=core.TaskNode(reference_id=registrar.id(identifier_pb2.TASK, task)))


def closure(registrar: Registrar, workflow: str) -> compiler_pb2.CompiledWorkflowClosure:
    request = common_pb2.ObjectGetRequest(id=registrar.id(identifier_pb2.WORKFLOW, workflow))
    return registrar.stubs.admin.GetWorkflow(request, timeout=10).closure.compiled_workflow


def test_a_workflow_that_is_only_named_is_found_with_all_that_it_needs(registrar: Registrar) -> None:
    for task in ("deep", "shallow", "own"):
        registrar.task(task, ["pyflyte-execute"])
    registrar.workflow("innermost", [does(registrar, "n0", "deep")])
    launched = registrar.workflow("launched", [does(registrar, "n0", "deep")])
    launches = core.Node(id="n2", workflow_node=core.WorkflowNode(launchplan_ref=launched))
    inner = [does(registrar, "n0", "shallow"), runs(registrar, "n1", "innermost"), launches]
    registrar.workflow("inner", inner)
    registrar.workflow("another", [runs(registrar, "n0", "innermost")])
    outer = [runs(registrar, "n0", "inner"), runs(registrar, "n1", "another"), does(registrar, "n2", "own")]
    registrar.workflow("outer", outer)

    compiled = closure(registrar, "outer")
    assert {one.template.id.name for one in compiled.sub_workflows} == {"inner", "another", "innermost"}
    assert {task.template.id.name for task in compiled.tasks} == {"deep", "shallow", "own"}
    of_inner = next(one for one in compiled.sub_workflows if one.template.id.name == "inner")
    assert of_inner == closure(registrar, "inner").primary


def test_a_workflow_with_a_branch_is_the_same_wherever_it_is_taken_from(registrar: Registrar) -> None:
    registrar.task("either", ["pyflyte-execute"])
    comparison = condition_pb2.ComparisonExpression(
        operator=condition_pb2.ComparisonExpression.EQ,
        left_value=condition_pb2.Operand(scalar=templates.constant(1).scalar),
        right_value=condition_pb2.Operand(scalar=templates.constant(1).scalar),
    )
    case = core.IfBlock(
        condition=condition_pb2.BooleanExpression(comparison=comparison), then_node=does(registrar, "n0", "either")
    )
    if_else = core.IfElseBlock(case=case, else_node=does(registrar, "n1", "either"))
    branch = core.Node(id="n0", branch_node=core.BranchNode(if_else=if_else))
    registrar.workflow("choosing", [branch])
    registrar.workflow("asking", [runs(registrar, "n0", "choosing")])

    compiled = closure(registrar, "asking")
    assert compiled.sub_workflows[0] == closure(registrar, "choosing").primary
    assert compiled.sub_workflows[0].template.nodes[2].branch_node.if_else.case.then_node.id == "n0-n0"


def test_what_a_workflow_brings_itself_is_what_it_means(registrar: Registrar) -> None:
    for task in ("registered", "brought"):
        registrar.task(task, ["pyflyte-execute"])
    registrar.workflow("inner", [does(registrar, "n0", "registered")])
    registrar.workflow("between", [runs(registrar, "n0", "inner")])
    id = registrar.id(identifier_pb2.WORKFLOW, "outer")
    own = core.WorkflowTemplate(
        id=registrar.id(identifier_pb2.WORKFLOW, "inner"), nodes=[does(registrar, "n0", "brought")]
    )
    for template in (own, outer := core.WorkflowTemplate(id=id, nodes=[runs(registrar, "n0", "between")])):
        template.interface.SetInParent()
    spec = workflow_pb2.WorkflowSpec(template=outer, sub_workflows=[own])
    registrar.stubs.admin.CreateWorkflow(workflow_pb2.WorkflowCreateRequest(id=id, spec=spec), timeout=10)

    inner = next(one for one in closure(registrar, "outer").sub_workflows if one.template.id.name == "inner")
    assert inner.template.nodes[2].task_node.reference_id.name == "brought"


def test_a_workflow_that_is_nowhere_is_named(registrar: Registrar) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        registrar.workflow("outer", [runs(registrar, "n0", "nowhere")])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "nowhere" in str(refused.value.details())
    assert "n0" in str(refused.value.details())
