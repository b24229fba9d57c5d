"""An execution in the leader's memory: its state, and where that state stands in the graph.

`Execution` has a tree of `Scope`s, one for each graph that runs: the workflow itself, and one for each sub-workflow,
branch, dynamic and array node that has started. A node that is still waiting is nothing but a counter in its scope; it
becomes a `LiveNode` when its upstream nodes are done.
"""

from __future__ import annotations

import functools
import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from flyteidl.admin import execution_pb2
from flyteidl.core import literals_pb2

from libs.workflow.frozen import frozen
from libs.workflow.graph import Graph, GraphNode, Shape
from libs.workflow.identity import child_node_id
from libs.workflow.launch import priority
from libs.workflow.machine.items import Items
from libs.workflow.machine.messages import BlobRole
from libs.workflow.options import deadline_us
from libs.workflow.phases import ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import EMPTY, AttemptState, Data, ExecutionState, NodeState

SPECS_KEPT: Final = 100
"""Specifications of executions that are remembered: those of a few launch plans."""


class Scope:
    """A graph that runs: the counters that tell when its nodes are ready, and how it ends."""

    __slots__ = (
        "closing",
        "cut",
        "error",
        "failed",
        "graph",
        "inputs",
        "items",
        "missing",
        "nodes",
        "open",
        "parent",
        "poisoned",
    )

    def __init__(self, graph: Graph, parent: LiveNode | None, inputs: Data) -> None:
        self.graph = graph
        self.parent = parent
        """The node whose graph this is; None for the workflow itself."""
        self.inputs = inputs
        self.nodes: list[LiveNode | None] = [None] * len(graph.nodes)
        self.missing = [len(node.upstream) for node in graph.nodes] if graph.shape is Shape.WORKFLOW else []
        """Per node, how many of its upstream nodes are not done; cases and items wait for nothing but their turn."""
        self.items: Items | None = None
        """Of an array node: how far it is. Its items are in `nodes` only while they run."""
        self.open: set[int] = set()
        """Nodes that have started and are not final."""
        self.poisoned: set[int] = set()
        """Waiting nodes below a failed or skipped one: they will be skipped."""
        self.error: bytes | None = None
        """The first failure in this scope: serialized ExecutionError."""
        self.failed = ""
        """The node that failed first: its unique id."""
        self.closing = False
        """Nothing new starts but the failure node; the scope ends when nothing is open."""
        self.cut = False
        """It is closing because something around it is: not even the failure node starts."""

    @property
    def data(self) -> Scope:
        """Where the outputs that its nodes read are found: the cases of a branch read what is around the branch."""
        scope = self
        while scope.graph.shape is Shape.CASES and scope.parent is not None:
            scope = scope.parent.scope
        return scope

    def admits(self, index: int) -> bool:
        """Whether this node may still start."""
        if self.nodes[index] is not None or (self.items is not None and self.items.results[index] is not None):
            return False
        return not self.closing or (index == self.graph.failure and not self.cut and not self.open)

    def first_unstarted(self, index: int) -> int:
        """The first item from `index` on that has not started."""
        results = self.items.results if self.items is not None else []
        while index < len(results) and (self.nodes[index] is not None or results[index] is not None):
            index += 1
        return index

    def node_id(self, spec: GraphNode) -> str:
        if self.parent is None:
            return spec.id
        return child_node_id(self.parent.state.id, self.parent.state.attempt, spec.id)


class LiveNode:
    """A node that has started: its row, its current attempt, and its own graph if it has one."""

    __slots__ = ("attempt", "began", "child", "rejections", "scope", "spec", "state")

    def __init__(self, scope: Scope, spec: GraphNode, state: NodeState) -> None:
        self.scope = scope
        self.spec = spec
        self.state = state
        self.attempt: AttemptState | None = None
        """The attempt that is not final, if there is one."""
        self.child: Scope | None = None
        self.rejections = 0
        """How often in a row executors had no room for it after all, as far as this leader knows."""
        self.began: int | None = None
        """The last attempt that has ended and whose process ran, as far as this leader knows: it may have left a
        checkpoint."""

    @property
    def stopping(self) -> bool:
        """Whether its end is wanted: an attempt that fails now is not tried again."""
        if self.state.phase is NodePhase.FAILING and self.child is None:
            return True  # it has been told
        scope = self.scope
        return scope.closing and (scope.cut or self.spec.index != scope.graph.failure)

    @property
    def counted(self) -> bool:
        """Whether an attempt of it counts for max_parallelism: not if it only waits for executions of its own."""
        return not (self.spec.task is not None and self.spec.task.eager)


Path = tuple[str, ...]
"""A node by the ids that the workflow gives to it and to the nodes around it, outer ones first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A node that has asked the cache. It may have no row yet."""

    scope: Scope
    spec: GraphNode
    inputs: Data
    key: bytes


@frozen
class Settings:
    """What the specification of an execution says about how it runs, as the turns of all that are asked for in the same
    words read it: a field of a message takes ten times as long to read as one of ours."""

    max_parallelism: int
    """How many attempts may be under way at once; 0 is unlimited."""
    interruptible: bool | None
    """Whether attempts may run where they can be interrupted, if it says so."""
    overwrite_cache: bool
    priority: int
    """How urgent it is: higher first."""
    time_allowed_us: int
    """From its first turn to its end; 0 is unlimited."""

    @classmethod
    def of(cls, spec: execution_pb2.ExecutionSpec) -> Settings:
        return cls(
            spec.max_parallelism,
            spec.interruptible.value if spec.HasField("interruptible") else None,
            spec.overwrite_cache,
            priority(spec),
            deadline_us(spec.annotations.values, "spec.annotations.values"),
        )


@dataclass(slots=True)
class Execution:
    """Everything that the leader knows of one execution."""

    state: ExecutionState
    graph: Graph
    settings: Settings
    root: Scope
    live: dict[str, LiveNode] = field(default_factory=dict)
    """Nodes that are not final, by unique id."""
    ready: deque[tuple[Scope, int]] = field(default_factory=deque)
    """Nodes whose upstream is done, to be started by the next step. If there are some after a turn, it is to be
    followed by another one at once."""
    timers: list[tuple[int, str]] = field(default_factory=list)
    """A heap of (when, node id); an entry whose node has another `wake_at_us` is stale."""
    parked: deque[LiveNode] = field(default_factory=deque)
    """Nodes that max_parallelism holds back."""
    running: int = 0
    """Attempts that are not final: what max_parallelism counts."""
    arrays: dict[int, Scope] = field(default_factory=dict)
    """Those that may have room for items, or have none left, by identity: the next step looks after them."""
    gates: dict[str, dict[str, LiveNode]] = field(default_factory=dict)
    """By signal id, the gates that wait for it, by node id."""
    awaiting: dict[str, dict[tuple[int, int], tuple[Scope, int]]] = field(default_factory=dict)
    """By uri, the ready nodes that cannot start before that blob is read."""
    blobs: dict[str, literals_pb2.LiteralMap] = field(default_factory=dict)
    """Blobs that have been read for nodes in `awaiting`."""
    offloaded: dict[str, literals_pb2.Literal | None] = field(default_factory=dict)
    """By uri, literals that were asked for, and that have been read."""
    gathering: dict[str, list[tuple[LiveNode, int]]] = field(default_factory=dict)
    """By uri, the arrays that need an item's outputs from there to put theirs together."""
    writing: dict[tuple[str, BlobRole], tuple[Scope, int, literals_pb2.LiteralMap]] = field(default_factory=dict)
    """Nodes that go on when a literal map of theirs is stored, with that map."""
    asking: dict[str, Asked] = field(default_factory=dict)
    """Nodes that the cache has not answered yet, by unique id."""
    waiting: dict[bytes, dict[str, LiveNode]] = field(default_factory=dict)
    """By key of the cache, the nodes that wait for another one to compute its value, by unique id."""
    recovery: dict[Path, NodeState] = field(default_factory=dict)
    """Of an execution that recovers another, the other's nodes: see `recovery`."""
    resumed: bool = False
    """True until the first step after a restore has asked again for what was under way."""

    def node(self, node_id: str) -> LiveNode | None:
        return self.live.get(node_id)

    def attempt(self, node_id: str, attempt: int) -> LiveNode | None:
        """The live node whose current attempt has this number, or None."""
        node = self.live.get(node_id)
        if node is None or node.attempt is None or node.attempt.attempt != attempt:
            return None
        return node

    def attend(self, scope: Scope) -> None:
        """Something has changed for an array: maybe more items can start, or it is done."""
        self.arrays[id(scope)] = scope

    def launched(self, node: LiveNode) -> None:
        """Something has left the leader's hands: in the arrays around it, others may start in its wake."""
        around: LiveNode | None = node
        while around is not None:
            scope = around.scope
            if scope.items is not None and around.spec.index in scope.items.waiting:
                scope.items.waiting.discard(around.spec.index)
                self.attend(scope)
            around = scope.parent

    def recalled(self, node: LiveNode) -> None:
        """What was launched has to be launched again."""
        if node.scope.items is not None:
            node.scope.items.waiting.add(node.spec.index)

    def set_timer(self, node: LiveNode, at_us: int) -> None:
        node.state.wake_at_us = at_us
        heapq.heappush(self.timers, (at_us, node.state.id))

    @property
    def deadline_us(self) -> int | None:
        """When it has had its time; None for one that is not limited, has not begun, or is ending."""
        started_at_us = self.state.started_at_us
        allowed_us = self.settings.time_allowed_us
        if not allowed_us or started_at_us is None or self.state.phase is not ExecutionPhase.RUNNING:
            return None
        return started_at_us + allowed_us

    def next_wake(self) -> int | None:
        """When something is due, of a node or of the execution itself."""
        if not self.timers and not self.settings.time_allowed_us:
            return None
        return min((due for due in (self.next_timer(), self.deadline_us) if due is not None), default=None)

    def next_timer(self) -> int | None:
        """When the earliest timer that still counts is due; drops stale ones on the way."""
        while self.timers:
            at_us, node_id = self.timers[0]
            node = self.live.get(node_id)
            if node is not None and node.state.wake_at_us == at_us:
                return at_us
            heapq.heappop(self.timers)
        return None

    def dissolve(self) -> None:
        """Nobody asks it anything any more. A graph and its nodes know one another: they are parted, so that their
        memory is free at once, and not when the garbage collector comes by.
        """
        self.root.nodes.clear()


def new_execution(state: ExecutionState, graph: Graph) -> Execution:
    """An execution that has not begun."""
    return Execution(state, graph, _settings(state.spec), Scope(graph, None, state.inputs))


@functools.lru_cache(SPECS_KEPT)
def _settings(spec: bytes) -> Settings:
    """Executions that are submitted together are mostly asked for in the same words."""
    return Settings.of(execution_pb2.ExecutionSpec.FromString(spec))


def is_leaf(node: LiveNode) -> bool:
    """Whether the node runs attempts of its own."""
    return node.spec.kind is NodeKind.TASK


def item_index(node: LiveNode) -> int | None:
    """Which item of an array a node is, if the items share the array's inputs and each must be told."""
    items = node.scope.items
    return node.spec.index if items is not None and items.shared else None


def inputs_of(node: LiveNode) -> Data:
    """The inputs of a node. Items that share those of their array have none in their rows."""
    items = node.scope.items
    return node.scope.inputs if items is not None and items.shared else node.state.inputs or EMPTY
