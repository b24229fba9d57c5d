"""Workflows for tests of the machine, written in one line each.

A task adds one to the sum of its inputs, and a task at the end of every workflow adds up what its sinks have produced;
so every result is an integer, and `oracle` tells in a few lines which. Tasks read everything that they need; nodes of
other kinds read one number, the first that they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flyteidl.admin import execution_pb2, launch_plan_pb2
from flyteidl.core import (
    compiler_pb2,
    condition_pb2,
    identifier_pb2,
    interface_pb2,
    literals_pb2,
    types_pb2,
    workflow_pb2,
)
from google.protobuf import duration_pb2

from libs.workflow import graph
from libs.workflow.graph import Graph, LaunchPlanTarget
from libs.workflow.identity import END_NODE_ID, START_NODE_ID, EntityId, ExecutionId
from libs.workflow.machine import Execution, new_execution
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import Data, ExecutionState, Intent

DYNAMIC = "dynamic:"
"""The name of a task that asks for more nodes is this and the name of their plan."""

PATIENT = "patient:"
"""The name of a task that pauses between its attempts is this and the first pause."""

SIGNS = {
    "==": condition_pb2.ComparisonExpression.EQ,
    "!=": condition_pb2.ComparisonExpression.NEQ,
    ">": condition_pb2.ComparisonExpression.GT,
    ">=": condition_pb2.ComparisonExpression.GTE,
    "<": condition_pb2.ComparisonExpression.LT,
    "<=": condition_pb2.ComparisonExpression.LTE,
}


@dataclass(frozen=True)
class Step:
    """A node: `needs` are the names of nodes whose outputs it reads. Without anything else it is a task."""

    name: str
    needs: tuple[str, ...] = ()
    inside: Plan | None = None
    """The nodes of a sub-workflow."""
    retries: int = 0
    launch: Plan | None = None
    """What the launch plan of a launch plan node runs."""
    dynamic: Plan | None = None
    """The nodes that a task asks for."""
    branch: Branch | None = None
    gate: Gate | None = None
    array: Array | None = None
    cache: str = ""
    """The version of the cache of a task's outputs."""
    serialized: bool = False
    """Whether one computes and the others wait."""
    timeout_us: int = 0
    backoff: str = ""
    """What a task's config says about its pauses."""

    @property
    def plain(self) -> bool:
        """Whether it is a task that computes its outputs itself."""
        return not (self.inside or self.launch or self.dynamic or self.branch or self.gate or self.array)

    @property
    def silent(self) -> bool:
        """Whether it has no outputs."""
        return self.gate is not None and self.gate.sleep_us is not None

    @property
    def all_needs(self) -> set[str]:
        """What it waits for; a branch also waits for what its arms read."""
        found = set(self.needs)
        for arm in self.branch.arms if self.branch else ():
            found |= arm.step.all_needs
        return found


@dataclass(frozen=True)
class Arm:
    """The step that runs if what the branch reads compares so with a number; without a sign it always does."""

    step: Step
    sign: str = ""
    number: int = 0


@dataclass(frozen=True)
class Branch:
    """Arms in order; `error` is what happens if none of them holds."""

    arms: tuple[Arm, ...]
    error: str | None = None


@dataclass(frozen=True)
class Gate:
    """Waits for an approval or a number under the id of a signal, or for some time."""

    approve: str = ""
    signal: str = ""
    sleep_us: int | None = None


@dataclass(frozen=True)
class Array:
    """Runs a step for each number; what the step is said to need, each item of a task gets as `y`, too.

    `numbers` are lists by the name of the input.
    """

    item: Step
    numbers: Mapping[str, Sequence[int]]
    sliced: bool = False
    parallelism: int = 0
    ratio: float | None = None
    successes: int | None = None
    run_all: bool = False


@dataclass(frozen=True)
class Plan:
    """A workflow with one integer input `x` and one output `o`."""

    steps: tuple[Step, ...]
    fail_immediately: bool = True
    name: str = "wf"
    max_parallelism: int = 0
    failure: Step | None = None
    """Its failure node."""
    deadline: str = ""
    overwrite_cache: bool = False
    sinks: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        needed = {need for step in self.steps for need in step.all_needs}
        object.__setattr__(self, "sinks", tuple(step.name for step in self.steps if step.name not in needed))

    @property
    def silent(self) -> set[str]:
        """The nodes whose outputs nobody can read."""
        return {step.name for step in self.steps if step.silent}

    @property
    def lists(self) -> set[str]:
        """The nodes whose outputs are lists: only tasks read them."""
        return {step.name for step in self.steps if step.array}


def reads(step: Step, plan: Plan) -> tuple[str, ...]:
    """The nodes whose outputs a step of `plan` reads; if there are none, it reads the input of the plan."""
    heard = tuple(need for need in step.needs if need not in plan.silent)
    if step.plain or step.array:
        return heard
    return tuple(need for need in heard if need not in plan.lists)[:1]


def steps_of(plan: Plan) -> Iterator[Step]:
    """Every step of a plan, also those in arms and its failure node; not those of other plans."""
    pending = [*plan.steps, *([plan.failure] if plan.failure else ())]
    while pending:
        step = pending.pop()
        yield step
        if step.branch is not None:
            pending.extend(arm.step for arm in step.branch.arms)
        if step.array is not None:
            pending.append(step.array.item)


def plans_below(plan: Plan) -> Iterator[Plan]:
    """A plan and all that run below it, in whatever way."""
    yield plan
    for step in steps_of(plan):
        for below in (step.inside, step.launch, step.dynamic):
            if below is not None:
                yield from plans_below(below)


# ------------------------------------------------------------------------------------------------- compiled workflows


def graph_of(plan: Plan) -> Graph:
    """The runtime form of a plan."""
    return graph.build(closure_of(plan), launch_plans=_launch_plans(plan))


def closure_of(plan: Plan) -> compiler_pb2.CompiledWorkflowClosure:
    """The compiled form, written down without a compiler."""
    closure = compiler_pb2.CompiledWorkflowClosure()
    _add_task(closure, "add")
    _add_workflow(closure.primary, plan, closure)
    return closure


def _launch_plans(plan: Plan) -> dict[EntityId, LaunchPlanTarget]:
    expected = interface_pb2.ParameterMap()
    expected.parameters["x"].var.type.simple = types_pb2.INTEGER
    expected.parameters["x"].required = True
    found = {}
    for below in plans_below(plan):
        plan_id = EntityId("p", "d", below.name, "v")
        found[plan_id] = LaunchPlanTarget(plan_id, plan_id, _launch_plan_spec(below), expected, ("o",))
    return found


def _launch_plan_spec(plan: Plan) -> launch_plan_pb2.LaunchPlanSpec:
    return launch_plan_pb2.LaunchPlanSpec(max_parallelism=plan.max_parallelism)


def _add_task(closure: compiler_pb2.CompiledWorkflowClosure, name: str) -> None:
    if any(task.template.id.name == name for task in closure.tasks):
        return
    task = closure.tasks.add().template
    task.id.CopyFrom(_id(identifier_pb2.TASK, name))
    task.type = "python-task"
    task.container.image = "image"
    task.interface.outputs.variables["o"].type.simple = types_pb2.INTEGER
    if name.startswith(PATIENT):
        task.config["airscrew/retry.backoff"] = name.removeprefix(PATIENT)


def _id(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(resource_type=kind, project="p", domain="d", name=name, version="v")


def _add_workflow(
    compiled: compiler_pb2.CompiledWorkflow, plan: Plan, closure: compiler_pb2.CompiledWorkflowClosure
) -> None:
    template = compiled.template
    template.id.CopyFrom(_id(identifier_pb2.WORKFLOW, plan.name))
    policy = workflow_pb2.WorkflowMetadata
    template.metadata.on_failure = (
        policy.FAIL_IMMEDIATELY if plan.fail_immediately else policy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
    )
    template.interface.outputs.variables["o"].type.simple = types_pb2.INTEGER
    writer = _Writer(plan, closure, compiled)
    template.nodes.add(id=START_NODE_ID)
    for step in plan.steps:
        writer.write(template.nodes.add(), step)
        compiled.connections.upstream[step.name].ids.extend(step.needs or (START_NODE_ID,))
    summing = template.nodes.add(id="sum")
    summing.task_node.reference_id.CopyFrom(_id(identifier_pb2.TASK, "add"))
    _collect(summing, "sum", [sink for sink in plan.sinks if sink not in plan.silent])
    compiled.connections.upstream["sum"].ids.extend(plan.sinks)
    end = template.nodes.add(id=END_NODE_ID)
    _promise(end, "o", "sum", "o")
    compiled.connections.upstream[END_NODE_ID].ids.append("sum")
    if plan.failure is not None:
        writer.write(template.failure_node, plan.failure)
        if plan.failure.launch is None:  # a launch plan takes what it declares only
            error = template.failure_node.inputs.add(var="err").binding.scalar.union
            error.value.scalar.none_type.SetInParent()


class _Writer:
    """Writes the nodes of one workflow."""

    def __init__(
        self,
        plan: Plan,
        closure: compiler_pb2.CompiledWorkflowClosure,
        compiled: compiler_pb2.CompiledWorkflow,
    ) -> None:
        self._plan = plan
        self._closure = closure
        self._compiled = compiled

    def write(self, node: workflow_pb2.Node, step: Step) -> None:
        node.id = step.name
        _write_metadata(node.metadata, step)
        variable = "o" if step.gate is not None else "x"  # an approval passes on what it was given
        sources = reads(step, self._plan)
        if step.array is not None:
            _write_array(node, step.array, sources)
        elif step.plain and len(sources) > 1:
            _collect(node, variable, sources)
        elif sources:
            _promise(node, variable, sources[0], "o")
        else:
            _promise(node, variable, "", "x")
        self._write_target(node, step)

    def _write_target(self, node: workflow_pb2.Node, step: Step) -> None:
        if step.array is not None:
            item = node.array_node.node
            _write_metadata(item.metadata, step.array.item)
            self._write_target(item, step.array.item)
        elif step.inside is not None:
            node.workflow_node.sub_workflow_ref.CopyFrom(_id(identifier_pb2.WORKFLOW, step.inside.name))
            _add_workflow(self._closure.sub_workflows.add(), step.inside, self._closure)
        elif step.launch is not None:
            node.workflow_node.launchplan_ref.CopyFrom(_id(identifier_pb2.LAUNCH_PLAN, step.launch.name))
        elif step.gate is not None:
            _write_gate(node.gate_node, step.gate)
        elif step.branch is not None:
            self._write_branch(node.branch_node.if_else, step.branch)
        else:
            name = DYNAMIC + step.dynamic.name if step.dynamic is not None else "add"
            if step.backoff:
                name = PATIENT + step.backoff
            _add_task(self._closure, name)
            node.task_node.reference_id.CopyFrom(_id(identifier_pb2.TASK, name))

    def _write_branch(self, target: workflow_pb2.IfElseBlock, branch: Branch) -> None:
        conditional = [arm for arm in branch.arms if arm.sign]
        for position, arm in enumerate(conditional):
            block = target.case if position == 0 else target.other.add()
            comparison = block.condition.comparison
            comparison.left_value.var = "x"
            comparison.operator = SIGNS[arm.sign]
            comparison.right_value.primitive.integer = arm.number
            self._write_arm(block.then_node, arm.step)
        if branch.error is not None:
            target.error.message = branch.error
        else:
            self._write_arm(target.else_node, branch.arms[-1].step)

    def _write_arm(self, node: workflow_pb2.Node, step: Step) -> None:
        self.write(node, step)
        self._compiled.connections.upstream[step.name].ids.extend(step.needs)


def _write_metadata(metadata: workflow_pb2.NodeMetadata, step: Step) -> None:
    metadata.retries.retries = step.retries
    metadata.timeout.FromMicroseconds(step.timeout_us)
    if step.cache:
        metadata.cacheable = True
        metadata.cache_version = step.cache
        metadata.cache_serializable = step.serialized


def _write_array(node: workflow_pb2.Node, array: Array, sources: Sequence[str]) -> None:
    target = node.array_node
    target.parallelism = array.parallelism
    target.run_all_sub_nodes = array.run_all
    target.is_original_sub_node_interface.value = array.sliced
    if array.ratio is not None:
        target.min_success_ratio = array.ratio
    if array.successes is not None:
        target.min_successes = array.successes
    for name, numbers in array.numbers.items():
        binding = node.inputs.add(var=name).binding.collection
        binding.SetInParent()
        for value in numbers:
            binding.bindings.add().scalar.primitive.integer = value
    if sources and array.item.plain:
        _collect(node, "y", sources)
        target.bound_inputs.append("y")


def _write_gate(node: workflow_pb2.GateNode, gate: Gate) -> None:
    if gate.sleep_us is not None:
        node.sleep.duration.CopyFrom(duration_pb2.Duration(nanos=0))
        node.sleep.duration.FromMicroseconds(gate.sleep_us)
    elif gate.approve:
        node.approve.signal_id = gate.approve
    else:
        node.signal.signal_id = gate.signal
        node.signal.type.simple = types_pb2.INTEGER
        node.signal.output_variable_name = "o"


def _collect(node: workflow_pb2.Node, var: str, sources: Sequence[str]) -> None:
    binding = node.inputs.add(var=var).binding.collection
    binding.SetInParent()
    for source in sources:
        promise = binding.bindings.add().promise
        promise.node_id, promise.var = source, "o"


def _promise(node: workflow_pb2.Node, var: str, source: str, output: str) -> None:
    promise = node.inputs.add(var=var).binding.promise
    promise.node_id, promise.var = source, output


# --------------------------------------------------------------------------------------------- executions and literals


def execution_of(plan: Plan, x: int = 0, key: int = 1) -> Execution:
    """An execution of `plan` that has been accepted and has not begun."""
    return new_execution(state_of(plan, x, key), graph_of(plan))


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
        spec=_spec(plan).SerializeToString(),
        inputs=Data.of(inputs.SerializeToString()),
        created_at_us=0,
        traceparent="",
        intent=Intent(1, Desired.RUN),
    )


def _spec(plan: Plan) -> execution_pb2.ExecutionSpec:
    spec = execution_pb2.ExecutionSpec(max_parallelism=plan.max_parallelism, overwrite_cache=plan.overwrite_cache)
    if plan.deadline:
        spec.annotations.values["airscrew/deadline"] = plan.deadline
    return spec


def integer(data: Data | None, name: str = "o") -> int:
    """The integer called `name` in a literal map."""
    assert data is not None
    literals = literals_pb2.LiteralMap.FromString(data.inline or b"")
    return int(literals.literals[name].scalar.primitive.integer)


def number(value: int) -> literals_pb2.Literal:
    """An integer as a literal."""
    literal = literals_pb2.Literal()
    literal.scalar.primitive.integer = value
    return literal


def computed(inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """What a task of these plans computes from its inputs."""
    result = literals_pb2.LiteralMap()
    total = sum(_total(literal) for literal in inputs.literals.values())
    result.literals["o"].scalar.primitive.integer = total + (0 if "sum" in inputs.literals else 1)
    return result


def _total(literal: literals_pb2.Literal) -> int:
    if literal.WhichOneof("value") == "collection":
        return sum(_total(element) for element in literal.collection.literals)
    return int(literal.scalar.primitive.integer)
