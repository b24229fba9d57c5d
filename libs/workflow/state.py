"""What is remembered of an execution: the observed state that only the leader of its shard writes.

Slotted and mutable for speed. `libs/workflow/machine` is the only code that changes these objects; what it changed in
a turn is listed in a `Changes` and that list is exactly what gets committed. `libs/store` turns them into rows and
back; nothing else does.

Times are integers: microseconds since the Unix epoch, UTC. Messages (literals, errors) are kept serialized.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.workflow.identity import AttemptId, EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, Desired, ExecutionPhase, NodeKind, NodePhase


@dataclass(frozen=True, slots=True)
class Data:
    """A `flyteidl.core.LiteralMap`: its bytes where it is small, else where it lies in the blob store.

    Exactly one of `inline` and `uri` is set. `size` is the serialized length in bytes.
    """

    inline: bytes | None
    uri: str | None
    size: int

    @classmethod
    def of(cls, serialized: bytes) -> Data:
        return cls(serialized, None, len(serialized))

    @classmethod
    def at(cls, uri: str, size: int) -> Data:
        return cls(None, uri, size)


EMPTY = Data.of(b"")


@dataclass(frozen=True, slots=True)
class Intent:
    """What is wanted of an execution: written by `admin` only, read in bulk by a hinted turn."""

    generation: int
    desired: Desired
    abort_cause: str = ""
    abort_principal: str = ""


@dataclass(slots=True)
class ExecutionState:
    """The row of an execution, as its leader sees it.

    Attributes below the line are immutable after submission and never written back.
    """

    key: int
    phase: ExecutionPhase
    observed_generation: int
    next_wake_at_us: int | None
    """The earliest timer of any node, or None. The sweep and a new leader find due executions by it."""
    started_at_us: int | None
    ended_at_us: int | None
    updated_at_us: int
    outputs: Data | None
    error: bytes | None
    """Serialized `flyteidl.core.ExecutionError`; set as soon as the end is decided (FAILING)."""
    # ------------------------------------------------------------------------------------------------------------
    id: ExecutionId
    shard: int
    root_key: int
    workflow: EntityId
    """The registered workflow whose compiled closure this execution runs (a task's own is `.flytegen.<task>`)."""
    launch_plan: EntityId
    """What was launched; for single-task executions the id of the task."""
    spec: bytes
    """Serialized `flyteidl.admin.ExecutionSpec` as submitted (envs, max_parallelism, raw output prefix …)."""
    inputs: Data
    """After defaults and fixed inputs."""
    created_at_us: int
    traceparent: str
    """W3C trace context of the execution's root span, minted or taken over at submission."""
    intent: Intent


@dataclass(slots=True)
class NodeState:
    """The row of a node execution. A node that is still WAITING has no row."""

    id: str
    """Unique in the execution: `n0`, or `n1-0-n0` for a child of `n1`."""
    spec_id: str
    parent_id: str
    """Unique id of the node whose sub-graph this node is part of; empty at the top level."""
    kind: NodeKind
    phase: NodePhase = NodePhase.WAITING
    attempt: int = 0
    """Number of the current attempt, from 0. Rises with every retry of any cause."""
    user_failures: int = 0
    system_failures: int = 0
    wake_at_us: int | None = None
    """When a back-off ends; None when nothing is timed."""
    created_at_us: int | None = None
    queued_at_us: int | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    updated_at_us: int | None = None
    task: EntityId | None = None
    """The task of a task node: clients find task executions by it."""
    inputs: Data | None = None
    outputs: Data | None = None
    error: bytes | None = None
    deck_uri: str | None = None


@dataclass(slots=True)
class AttemptState:
    """The row of one attempt of a task node."""

    node_id: str
    attempt: int
    phase: AttemptPhase
    created_at_us: int
    executor: str | None = None
    """Id of the executor it was placed on: never changes once set (P4)."""
    incarnation: str | None = None
    """Which life of that executor: a restarted executor has lost its attempts."""
    placed_at_us: int | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    updated_at_us: int | None = None
    seq: int = 0
    """Number of the last report that is folded in; lower or equal ones are acknowledged and ignored."""
    error: bytes | None = None
    reason: str = ""
    """One sentence for people: why it waits, why it ended."""
    log_uri: str | None = None
    checkpoint_uri: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One line of an execution's append-only story: what happened, when and why. Never read by the machine."""

    at_us: int
    kind: str
    """A short constant such as `NodeQueued`, `AttemptFailed`, `ExecutionSucceeded`."""
    node_id: str = ""
    attempt: int = -1
    message: str = ""


@dataclass(slots=True)
class Changes:
    """What one turn changed in one execution: committed as a whole or not at all."""

    execution: ExecutionState
    execution_changed: bool = False
    nodes: dict[str, NodeState] = field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptState] = field(default_factory=dict)
    events: list[RecordedEvent] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.execution_changed or bool(self.nodes) or bool(self.attempts) or bool(self.events)

    @property
    def rows(self) -> int:
        return self.execution_changed + len(self.nodes) + len(self.attempts) + len(self.events)


@dataclass(slots=True)
class Snapshot:
    """Everything that a leader needs to go on with an execution it has not in memory."""

    execution: ExecutionState
    nodes: list[NodeState]
    attempts: list[AttemptState]
    """Only the attempts that are not final; finished ones are history."""


__all__ = [
    "EMPTY",
    "AttemptId",
    "AttemptState",
    "Changes",
    "Data",
    "EntityId",
    "ExecutionId",
    "ExecutionState",
    "Intent",
    "NodeState",
    "RecordedEvent",
    "Snapshot",
]
