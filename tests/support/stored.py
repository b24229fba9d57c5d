"""Values to put into a store, with everything a test does not care about filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.records import ExecutionRecord, LaunchPlanRecord, TaskRecord, WorkflowRecord
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, Desired, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import AttemptState, CacheEntry, Changes, Data, ExecutionState, Intent, NodeState, SignalState

WORKFLOW = EntityId("flytesnacks", "development", "shop.sell", "v1")
TASK = EntityId("flytesnacks", "development", "shop.pack", "v1")
LAUNCH_PLAN = 3
SINGLE_TASK = 1


def execution(key: int = 1, name: str = "", **changed: Any) -> ExecutionState:
    """An execution as it is submitted."""
    state = ExecutionState(
        key=key,
        phase=ExecutionPhase.QUEUED,
        observed_generation=0,
        next_wake_at_us=None,
        started_at_us=None,
        ended_at_us=None,
        updated_at_us=key * 1000,
        outputs=None,
        error=None,
        id=ExecutionId("flytesnacks", "development", name or f"e{key}"),
        shard=0,
        root_key=key,
        workflow=WORKFLOW,
        launch_plan=WORKFLOW,
        spec=b"spec",
        inputs=Data.of(b"inputs"),
        created_at_us=key * 1000,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        intent=Intent(1, Desired.RUN),
        principal="anna",
    )
    for field, value in changed.items():
        setattr(state, field, value)
    return state


def record(key: int = 1, name: str = "", *, resource_type: int = LAUNCH_PLAN, **changed: Any) -> ExecutionRecord:
    """A submission of `execution`."""
    return ExecutionRecord(execution(key, name, **changed), resource_type=resource_type, mode=0)


def child(parent: ExecutionState, key: int, **changed: Any) -> ExecutionState:
    """An execution that a launch plan node of `parent` launches."""
    node = {"parent_key": parent.key, "parent_node_id": "n0", "root_key": parent.root_key, "shard": parent.shard}
    return execution(key, **{"spec": b"", **node, **changed})


def running(state: ExecutionState, **changed: Any) -> Changes:
    """A turn that starts an execution."""
    state.phase, state.observed_generation, state.started_at_us = ExecutionPhase.RUNNING, 1, 5_000
    for field, value in changed.items():
        setattr(state, field, value)
    return Changes(state, execution_changed=True)


def ended(state: ExecutionState, phase: ExecutionPhase = ExecutionPhase.SUCCEEDED) -> Changes:
    """A turn that ends an execution."""
    state.phase, state.observed_generation, state.ended_at_us = phase, state.intent.generation, 9_000
    state.next_wake_at_us = None
    return Changes(state, execution_changed=True)


def node(id: str = "n0", phase: NodePhase = NodePhase.RUNNING, **changed: Any) -> NodeState:
    """A task node."""
    state = NodeState(id=id, spec_id=id, parent_id="", kind=NodeKind.TASK, phase=phase, task=TASK, created_at_us=1_000)
    for field, value in changed.items():
        setattr(state, field, value)
    return state


def attempt(node_id: str = "n0", number: int = 0, phase: AttemptPhase = AttemptPhase.RUNNING) -> AttemptState:
    """An attempt that an executor runs."""
    return AttemptState(node_id, number, phase, created_at_us=1_000 + number, executor="here", incarnation="first")


def waiting(changes: Changes, *signals: SignalState) -> Changes:
    """The same turn, with a gate open for each of these signals."""
    for signal in signals:
        changes.nodes[signal.node_id] = node(signal.node_id, kind=NodeKind.GATE)
        changes.signals.append(signal)
    return changes


def with_nodes(state: ExecutionState, *nodes: NodeState) -> Changes:
    """A turn that changes these nodes."""
    return Changes(state, nodes={each.id: each for each in nodes})


def entry(key: bytes = b"k" * 32, **changed: Any) -> CacheEntry:
    """Outputs for the cache."""
    outputs = Data.of(b"outputs")
    return replace(CacheEntry(key, TASK, outputs, node_id="n0", attempt=0, created_at_us=7), **changed)


def task(name: str = "shop.pack", version: str = "v1", created_at_us: int = 1_000) -> TaskRecord:
    """A registered task."""
    id = EntityId("flytesnacks", "development", name, version)
    return TaskRecord(id, "python-task", b"digest", b"spec", b"closure", created_at_us)


def workflow(name: str = "shop.sell", version: str = "v1", created_at_us: int = 1_000) -> WorkflowRecord:
    """A registered workflow."""
    id = EntityId("flytesnacks", "development", name, version)
    return WorkflowRecord(id, b"digest", b"spec", b"closure", created_at_us)


def compiled(id: EntityId, closure: bytes) -> WorkflowRecord:
    """A registered workflow with this closure."""
    return WorkflowRecord(id, b"digest", b"spec", closure, 1_000)


def launch_plan(name: str = "shop.sell", version: str = "v1", created_at_us: int = 1_000) -> LaunchPlanRecord:
    """A registered launch plan."""
    id = EntityId("flytesnacks", "development", name, version)
    target = replace_version(id, "w1")
    return LaunchPlanRecord(id, target, b"digest", b"spec", b"in", b"out", 0, created_at_us, created_at_us)


def replace_version(id: EntityId, version: str) -> EntityId:
    """The same name at another version."""
    return id._replace(version=version)


def restructured(found: TaskRecord) -> TaskRecord:
    """The same version with another structure."""
    return replace(found, digest=b"other digest")


async def submit(url: str, *records: ExecutionRecord) -> None:
    """Stores executions as `admin` does."""
    engine = open_async(url)
    executions = Executions(engine)
    for each in records:
        await executions.create(each)
    await executions.close()
    await engine.dispose()
