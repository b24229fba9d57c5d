"""Workflows for tests of the machine, written in one line each, and what they compute if all goes well.

A task adds one to the sum of its inputs; a sub-workflow's output is the sum of the outputs of its sinks, which a task
of its own computes. So every result is an integer that a five-line oracle can predict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flyteidl.admin import execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2, workflow_pb2

from libs.workflow import graph
from libs.workflow.identity import END_NODE_ID, START_NODE_ID, EntityId, ExecutionId
from libs.workflow.machine import Execution, new_execution
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import Data, ExecutionState, Intent


@dataclass(frozen=True)
class Step:
    """A node: `needs` are the names of nodes whose outputs it reads; with `inside` it is a sub-workflow."""

    name: str
    needs: tuple[str, ...] = ()
    inside: Plan | None = None
    retries: int = 0


@dataclass(frozen=True)
class Plan:
    """A workflow with one integer input `x` and one output `o`."""

    steps: tuple[Step, ...]
    fail_immediately: bool = True
    name: str = "wf"
    max_parallelism: int = 0
    sinks: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        needed = {need for step in self.steps for need in step.needs}
        object.__setattr__(self, "sinks", tuple(step.name for step in self.steps if step.name not in needed))


def expected(plan: Plan, x: int) -> int:
    """The output of a plan when every task succeeds."""
    outputs: dict[str, int] = {}
    for step in plan.steps:
        total = sum(outputs[need] for need in step.needs) if step.needs else x
        outputs[step.name] = expected(step.inside, total) if step.inside else total + 1
    return sum(outputs[sink] for sink in plan.sinks)


def closure_of(plan: Plan) -> compiler_pb2.CompiledWorkflowClosure:
    """The compiled form, written down without a compiler."""
    closure = compiler_pb2.CompiledWorkflowClosure()
    task = closure.tasks.add().template
    task.id.CopyFrom(_id(identifier_pb2.TASK, "add"))
    task.type = "python-task"
    task.container.image = "image"
    task.interface.outputs.variables["o"].type.simple = 1
    closure.primary.CopyFrom(_workflow(plan, closure))
    return closure


def execution_of(plan: Plan, x: int = 0, key: int = 1) -> Execution:
    """An execution of `plan` that has been accepted and has not begun."""
    return new_execution(state_of(plan, x, key), graph.build(closure_of(plan)))


def state_of(plan: Plan, x: int = 0, key: int = 1) -> ExecutionState:
    inputs = literals_pb2.LiteralMap()
    inputs.literals["x"].scalar.primitive.integer = x
    return ExecutionState(
        key=key,
        phase=ExecutionPhase.QUEUED,
        observed_generation=0,
        next_wake_at_us=None,
        started_at_us=None,
        ended_at_us=None,
        updated_at_us=0,
        outputs=None,
        error=None,
        id=ExecutionId("p", "d", f"e{key}"),
        shard=0,
        root_key=key,
        workflow=EntityId("p", "d", plan.name, "v"),
        launch_plan=EntityId("p", "d", plan.name, "v"),
        spec=execution_pb2.ExecutionSpec(max_parallelism=plan.max_parallelism).SerializeToString(),
        inputs=Data.of(inputs.SerializeToString()),
        created_at_us=0,
        traceparent="",
        intent=Intent(1, Desired.RUN),
    )


def integer(data: Data | None, name: str = "o") -> int:
    """The integer called `name` in a literal map."""
    assert data is not None
    literals = literals_pb2.LiteralMap.FromString(data.inline or b"")
    return int(literals.literals[name].scalar.primitive.integer)


def added(data: Data | None) -> Data:
    """What the task of these plans computes from its inputs."""
    assert data is not None
    literals = literals_pb2.LiteralMap.FromString(data.inline or b"")
    result = literals_pb2.LiteralMap()
    total = sum(_total(literal) for literal in literals.literals.values())
    result.literals["o"].scalar.primitive.integer = total + (0 if "sum" in literals.literals else 1)
    return Data.of(result.SerializeToString())


def _total(literal: literals_pb2.Literal) -> int:
    if literal.WhichOneof("value") == "collection":
        return sum(_total(element) for element in literal.collection.literals)
    return int(literal.scalar.primitive.integer)


def _id(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(resource_type=kind, project="p", domain="d", name=name, version="v")


def _workflow(plan: Plan, closure: compiler_pb2.CompiledWorkflowClosure) -> compiler_pb2.CompiledWorkflow:
    compiled = compiler_pb2.CompiledWorkflow()
    template = compiled.template
    template.id.CopyFrom(_id(identifier_pb2.WORKFLOW, plan.name))
    policy = workflow_pb2.WorkflowMetadata
    template.metadata.on_failure = (
        policy.FAIL_IMMEDIATELY if plan.fail_immediately else policy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
    )
    template.nodes.add(id=START_NODE_ID)
    for step in plan.steps:
        template.nodes.append(_node(step, closure))
        compiled.connections.upstream[step.name].ids.extend(step.needs or (START_NODE_ID,))
    template.nodes.append(_summing(plan))
    compiled.connections.upstream["sum"].ids.extend(plan.sinks)
    end = template.nodes.add(id=END_NODE_ID)
    _promise(end, "o", "sum", "o")
    compiled.connections.upstream[END_NODE_ID].ids.append("sum")
    return compiled


def _node(step: Step, closure: compiler_pb2.CompiledWorkflowClosure) -> workflow_pb2.Node:
    node = workflow_pb2.Node(id=step.name)
    node.metadata.retries.retries = step.retries
    if step.inside is not None:
        # A sub-workflow takes one number: the sum of what it needs, made by its first binding being a list.
        node.workflow_node.sub_workflow_ref.CopyFrom(_id(identifier_pb2.WORKFLOW, step.inside.name))
        closure.sub_workflows.append(_workflow(step.inside, closure))
    else:
        node.task_node.reference_id.CopyFrom(_id(identifier_pb2.TASK, "add"))
    if step.needs:
        binding = node.inputs.add(var="x").binding.collection
        for need in step.needs:
            promise = binding.bindings.add().promise
            promise.node_id, promise.var = need, "o"
    else:
        _promise(node, "x", "", "x")
    return node


def _summing(plan: Plan) -> workflow_pb2.Node:
    node = workflow_pb2.Node(id="sum")
    node.task_node.reference_id.CopyFrom(_id(identifier_pb2.TASK, "add"))
    binding = node.inputs.add(var="sum").binding.collection
    for sink in plan.sinks:
        promise = binding.bindings.add().promise
        promise.node_id, promise.var = sink, "o"
    return node


def _promise(node: workflow_pb2.Node, var: str, source: str, output: str) -> None:
    promise = node.inputs.add(var=var).binding.promise
    promise.node_id, promise.var = source, output
