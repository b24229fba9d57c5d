"""What is remembered of an execution: the observed state that only the leader of its shard writes.

Slotted and mutable for speed. `libs/workflow/machine` is the only code that changes these objects; what it changed in
a turn is listed in a `Changes` and that list is exactly what gets committed. `libs/store` turns them into rows and
back; nothing else does.

Times are integers: microseconds since the Unix epoch, UTC. Messages (literals, errors) are kept serialized.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.workflow.frozen import frozen
from libs.workflow.identity import AttemptId, EntityId, ExecutionId
from libs.workflow.phases import (
    AttemptPhase,
    CacheStatus,
    Desired,
    ExecutionPhase,
    NodeKind,
    NodePhase,
    ReservationStatus,
)


@frozen
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


@frozen
class Intent:
    """What is wanted of an execution: written by `admin` only, read in bulk by a hinted turn.

    (One exception: the abort of an execution is passed on to everything below it, in the commit that decides it; see
    `AbortBelow`.)
    """

    generation: int
    desired: Desired
    abort_cause: str = ""
    abort_principal: str = ""
    signals: tuple[tuple[str, bytes], ...] = ()
    """The signals that have been given: id and serialized `flyteidl.core.Literal`."""


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
    principal: str = ""
    """Who submitted it."""
    parent_key: int | None = None
    """The execution whose node or task launched this one."""
    parent_node_id: str = ""
    """The launch plan node whose child this is; empty where a task launched it, or nobody."""
    recovers_key: int | None = None
    """The execution whose results are taken over where they exist (RecoverExecution)."""


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
    choice: int | None = None
    """Of a branch that has decided: the index of the chosen case's node."""
    child_key: int | None = None
    """Of a launch plan node: the execution that it has launched."""
    futures_uri: str | None = None
    """Of a task that asked for more nodes: its `flyteidl.core.DynamicJobSpec`."""
    closure_uri: str | None = None
    """The compiled closure of those nodes; set as soon as they may start."""
    items: int | None = None
    """Of an array node: how many items it has."""
    cache_status: CacheStatus = CacheStatus.DISABLED
    cache_key: bytes | None = None
    """What the outputs are stored under, and looked up by: see `caching`."""
    reservation: ReservationStatus = ReservationStatus.DISABLED


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


@frozen
class RecordedEvent:
    """One line of an execution's append-only story: what happened, when and why. Never read by the machine."""

    at_us: int
    kind: str
    """A short constant such as `NodeQueued`, `AttemptFailed`, `ExecutionSucceeded`."""
    node_id: str = ""
    attempt: int = -1
    message: str = ""


@frozen
class SignalState:
    """A signal that a gate waits for: it can be given from now on. Its value is written by `admin`."""

    id: str
    node_id: str
    type: bytes
    """Serialized `flyteidl.core.LiteralType` that the value must have."""
    created_at_us: int


@frozen
class AbortBelow:
    """Abort what an execution has launched, down to the last descendant: part of the commit that decides it."""

    cause: str
    principal: str
    child_key: int | None = None
    """This child and all below it; None for everything below the execution whose change this is."""


@frozen
class CacheEntry:
    """Outputs of a task that later nodes with the same key take over."""

    key: bytes
    """32 bytes: see `caching`."""
    task: EntityId
    outputs: Data
    node_id: str
    attempt: int
    created_at_us: int


@frozen
class Reservation:
    """The right of one node to compute a value that others wait for."""

    key: bytes
    execution_key: int
    node_id: str


@dataclass(slots=True)
class Changes:
    """What one turn changed in one execution: committed as a whole or not at all."""

    execution: ExecutionState
    execution_changed: bool = False
    nodes: dict[str, NodeState] = field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptState] = field(default_factory=dict)
    events: list[RecordedEvent] = field(default_factory=list)
    children: list[ExecutionState] = field(default_factory=list)
    """New executions of launch plan nodes, in the shard of their parent."""
    aborts: list[AbortBelow] = field(default_factory=list)
    signals: list[SignalState] = field(default_factory=list)
    cached: list[CacheEntry] = field(default_factory=list)
    released: list[Reservation] = field(default_factory=list)
    """Reservations that end: whoever waits for them looks again."""

    def __bool__(self) -> bool:
        return self.rows > 0

    @property
    def more(self) -> bool:
        """Whether there is something beside state and story, as there seldom is."""
        return bool(self.children or self.aborts or self.signals or self.cached or self.released)

    @property
    def rows(self) -> int:
        rows = self.execution_changed + len(self.nodes) + len(self.attempts) + len(self.events)
        if self.children or self.aborts or self.signals or self.cached or self.released:  # `more`, asked here at once
            rows += len(self.children) + len(self.aborts) + len(self.signals) + len(self.cached) + len(self.released)
        return rows


@dataclass(slots=True)
class Snapshot:
    """Everything that a leader needs to go on with an execution it has not in memory."""

    execution: ExecutionState
    nodes: list[NodeState]
    attempts: list[AttemptState]
    """Only the attempts that are not final; finished ones are history."""
    recoverable: list[NodeState] = field(default_factory=list)
    """Of an execution that recovers another: the other's nodes that have succeeded, and those around them."""


__all__ = [
    "EMPTY",
    "AbortBelow",
    "AttemptId",
    "AttemptState",
    "CacheEntry",
    "Changes",
    "Data",
    "EntityId",
    "ExecutionId",
    "ExecutionState",
    "Intent",
    "NodeState",
    "RecordedEvent",
    "Reservation",
    "SignalState",
    "Snapshot",
]
