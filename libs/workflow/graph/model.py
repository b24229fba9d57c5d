"""What a graph consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import condition_pb2, interface_pb2, literals_pb2, types_pb2

from libs.workflow.identity import EntityId
from libs.workflow.phases import NodeKind
from libs.workflow.quantities import Slots
from libs.workflow.retry import RetryPolicy

DEFAULT_SLOTS = Slots(cpu_millis=1000, memory_bytes=512 * 2**20)
"""What a task takes that asks for nothing: one core, half a GiB. (Flyte's own default is one core and 1 GiB.)"""


@dataclass(frozen=True, slots=True)
class TaskTarget:
    """A registered task as its nodes run it: everything that the executor needs and that all attempts share."""

    id: EntityId
    template: bytes
    digest: bytes
    image: str
    has_outputs: bool
    slots: Slots
    retries: int
    backoff_us: int = 0
    """Before its second attempt, after a failure of its own."""
    eager: bool = False
    """It launches executions and waits for them: it holds no slot that they need."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How the outputs of a task node are kept for later nodes that ask the same."""

    version: str
    interface: bytes
    """Serialized `flyteidl.core.TypedInterface` of the task."""
    ignored: frozenset[str] = frozenset()
    """Inputs that make no difference."""
    serialize: bool = False
    """One node computes, others with the same key wait for it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One arm of a branch: the node that runs if the condition holds; an absent condition always does."""

    condition: condition_pb2.BooleanExpression | None
    index: int
    """Of its node, in the branch's own graph."""


@dataclass(frozen=True, slots=True)
class BranchTarget:
    """What a branch chooses from, in order. `error` is what it fails with when nothing else holds."""

    cases: tuple[Case, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GateTarget:
    """What a gate waits for: a signal with a value of `type`, or `sleep_us`."""

    signal_id: str = ""
    type: types_pb2.LiteralType | None = None
    output: str | None = None
    """The output that the signal's value becomes; None where a person approves: then the inputs pass through."""
    sleep_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LaunchPlanTarget:
    """A registered launch plan, as its nodes launch it."""

    id: EntityId
    workflow: EntityId
    spec: launch_plan_pb2.LaunchPlanSpec
    expected_inputs: interface_pb2.ParameterMap
    outputs: tuple[str, ...]
    """Names of its outputs."""


@dataclass(frozen=True, slots=True)
class ArrayTarget:
    """A node that runs once for each element of its list inputs."""

    item: GraphNode
    sliced: bool
    """Whether an item gets its elements as inputs. If not, each gets the whole lists and is told its index."""
    bound: frozenset[str]
    """Inputs that are no lists: every item gets them whole."""
    outputs: tuple[str, ...]
    """Names of the item's outputs; the array's are lists of them."""
    parallelism: int = 0
    """How many items may be under way at once; 0 is unlimited."""
    min_successes: int | None = None
    min_success_ratio: float | None = None
    run_all: bool = False
    """Whether items still start and run when too many have failed already."""


Reads = tuple[tuple[str, int, str], ...]
"""Inputs that are outputs of other nodes as they are: variable, index of the other node, name of its output."""


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node of a graph. `upstream` and `downstream` are indices into `Graph.nodes`."""

    index: int
    id: str
    kind: NodeKind
    bindings: tuple[literals_pb2.Binding, ...] = ()
    upstream: tuple[int, ...] = ()
    downstream: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()
    """The nodes whose outputs the bindings read; for a node inside a branch, of the graph around the branch."""
    whole: Reads | None = None
    """What the bindings read where each passes on an output as it is, as most do; None for a node that combines or
    takes apart, or passes on a value of its own. One object for all nodes of a graph that read the same."""
    relays: int = -1
    """The node that all of `whole` is read from, by the same names; -1 if there is none."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of this node's outputs: alias to variable."""
    integers: frozenset[str] = frozenset()
    """Inputs that are integers, or lists or maps of them, and that come out of a structure."""
    name: str = ""
    """What people call it."""
    task: TaskTarget | None = None
    graph: Graph | None = None
    """Of a sub-workflow its nodes, of a branch its cases."""
    branch: BranchTarget | None = None
    launch_plan: LaunchPlanTarget | None = None
    gate: GateTarget | None = None
    array: ArrayTarget | None = None
    retry: RetryPolicy = RetryPolicy()
    time_allowed_us: int = 0
    """For one attempt, from its start; for a node with nodes or a child of its own, from that; 0 is unlimited."""
    slots: Slots = DEFAULT_SLOTS
    image: str = ""
    overrides: bytes = b""
    """What the node says otherwise than its task, serialized: only pods can do all of it."""
    interruptible: bool | None = None
    """Whether it may run on machines that are taken away at any time; None leaves it to execution and workflow."""
    cache: CachePolicy | None = None


class Shape(Enum):
    """How the nodes of a graph belong together."""

    WORKFLOW = auto()
    """From a start node to an end node."""
    CASES = auto()
    """The cases of a branch: one of them runs, and reads what the graph around the branch has produced."""
    ITEMS = auto()
    """The items of an array node: all of them run."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes that run together; `start`, `end` and `failure` are indices, -1 where there is no such node."""

    nodes: Sequence[GraphNode]
    index: Mapping[str, int]
    start: int
    end: int
    fail_immediately: bool
    """False: nodes that do not depend on the failed one still run (FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)."""
    shape: Shape = Shape.WORKFLOW
    failure: int = -1
    """The node that runs when the graph has failed."""
    interruptible: bool = False
    """The workflow's default for its nodes."""
