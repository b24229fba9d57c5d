"""What a workflow refers to: the tasks and launch plans that must be at hand before it can be compiled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from flyteidl.core import dynamic_job_pb2, identifier_pb2, workflow_pb2

from libs.workflow.identity import EntityId


@dataclass(frozen=True, slots=True)
class Requirements:
    """Ids that a workflow and its sub-workflows refer to, each once, in order of appearance."""

    tasks: tuple[EntityId, ...]
    launch_plans: tuple[EntityId, ...]
    sub_workflows: tuple[EntityId, ...] = ()
    """Those that are not given along with the workflow: they must be known from elsewhere."""


def requirements(
    template: workflow_pb2.WorkflowTemplate, sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = ()
) -> Requirements:
    """The tasks and launch plans that `template` needs, itself and through those of `sub_workflows` that it reaches.

    Launch plans are not followed: they are compiled on their own. What a missing sub-workflow refers to is not known
    before it is given.
    """
    tasks: dict[EntityId, None] = {}
    launch_plans: dict[EntityId, None] = {}
    missing: dict[EntityId, None] = {}
    known = {entity_id(sub.id): sub for sub in sub_workflows}
    given = {entity_id(template.id), *known}
    for workflow in [template, *reachable(template, known).values()]:
        for node in every_node(workflow):
            match target_of(node):
                case "task", task:
                    tasks[task] = None
                case "launch_plan", launch_plan:
                    launch_plans[launch_plan] = None
                case "sub_workflow", sub_workflow if sub_workflow not in given:
                    missing[sub_workflow] = None
    return Requirements(tuple(tasks), tuple(launch_plans), tuple(missing))


def dynamic_requirements(
    spec: dynamic_job_pb2.DynamicJobSpec, sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = ()
) -> Requirements:
    """What the nodes that a dynamic task returned refer to and it did not bring along.

    `sub_workflows` are those that are at hand besides its own.
    """
    found = requirements(workflow_pb2.WorkflowTemplate(nodes=spec.nodes), [*sub_workflows, *spec.subworkflows])
    own = {entity_id(task.id) for task in spec.tasks}
    return replace(found, tasks=tuple(task for task in found.tasks if task not in own))


def entity_id(identifier: identifier_pb2.Identifier) -> EntityId:
    return EntityId(identifier.project, identifier.domain, identifier.name, identifier.version)


def target_of(node: workflow_pb2.Node) -> tuple[str, EntityId] | None:
    """What a node refers to: `("task" | "launch_plan" | "sub_workflow", id)`, or None if it refers to nothing."""
    match node.WhichOneof("target"):
        case "task_node" if node.task_node.HasField("reference_id"):
            return "task", entity_id(node.task_node.reference_id)
        case "workflow_node":
            match node.workflow_node.WhichOneof("reference"):
                case "launchplan_ref":
                    return "launch_plan", entity_id(node.workflow_node.launchplan_ref)
                case "sub_workflow_ref":
                    return "sub_workflow", entity_id(node.workflow_node.sub_workflow_ref)
    return None


def every_node(template: workflow_pb2.WorkflowTemplate) -> Iterator[workflow_pb2.Node]:
    """All nodes of a template: also the cases of branches, the inner nodes of arrays and the failure node."""
    for node in template.nodes:
        yield from with_inner(node)
    if template.HasField("failure_node"):
        yield from with_inner(template.failure_node)


def with_inner(node: workflow_pb2.Node) -> Iterator[workflow_pb2.Node]:
    """A node, and whatever nodes are written inside it."""
    yield node
    match node.WhichOneof("target"):
        case "branch_node":
            for case in cases_of(node):
                yield from with_inner(case)
        case "array_node" if node.array_node.HasField("node"):
            yield from with_inner(node.array_node.node)


def cases_of(node: workflow_pb2.Node) -> Sequence[workflow_pb2.Node]:
    """The nodes that a branch chooses from, in the order of its cases; those that are missing are left out."""
    if_else = node.branch_node.if_else
    blocks = [if_else.case, *if_else.other] if if_else.HasField("case") else list(if_else.other)
    cases = [block.then_node for block in blocks if block.HasField("then_node")]
    if if_else.WhichOneof("default") == "else_node":
        cases.append(if_else.else_node)
    return cases


def reachable(
    template: workflow_pb2.WorkflowTemplate, known: dict[EntityId, workflow_pb2.WorkflowTemplate]
) -> dict[EntityId, workflow_pb2.WorkflowTemplate]:
    """Those of the known sub-workflows that `template` runs, directly or through one another."""
    found: dict[EntityId, workflow_pb2.WorkflowTemplate] = {}
    waiting = [template]
    while waiting:
        for referred in sub_workflows_of(waiting.pop()):
            if referred in known and referred not in found:
                found[referred] = known[referred]
                waiting.append(known[referred])
    return found


def sub_workflows_of(template: workflow_pb2.WorkflowTemplate) -> Iterator[EntityId]:
    for node in every_node(template):
        match target_of(node):
            case "sub_workflow", referred:
                yield referred
