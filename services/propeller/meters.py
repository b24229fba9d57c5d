"""What a propeller counts: turns, commits, attempts, nodes and executions by outcome, who leads, who serves.

Only where somebody collects metrics: a term without meters does not even ask what time it is for them. What a turn has
brought to an end is counted when it is committed, so a total never tells of what did not happen, and a turn that is
repeated after a failed commit counts once.

Totals are those of the process, whichever terms it had; levels are those of the terms that last, and beyond them
there are none. FlytePropeller's names of the same things are in `docs/metrics.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from flyteidl.core import execution_pb2

from libs.runtime.clock import Clock
from libs.telemetry import queues
from libs.telemetry.metrics import Board, Kind, Level, Metering, Metric, Names, Values
from libs.telemetry.traces import Attribute, TraceContext
from libs.workflow.phases import CacheStatus, ErrorKind, NodeKind
from libs.workflow.quantities import Slots
from libs.workflow.state import AttemptState, Changes, ExecutionState, NodeState
from libs.workqueue.metrics import Metrics, QueueMetrics
from services.propeller.spans import root_context

TURN: Final = Metric("airscrew.turn.duration", Kind.HISTOGRAM, "s", "From the beginning of a turn to its commit")
COMMIT: Final = Metric("airscrew.commit.duration", Kind.HISTOGRAM, "s", "How long a transaction of many turns took")
ACCEPTANCE: Final = Metric(
    "airscrew.execution.acceptance", Kind.HISTOGRAM, "s", "From the submission of an execution to its first turn"
)
EXECUTION: Final = Metric(
    "airscrew.execution.duration",
    Kind.HISTOGRAM,
    "s",
    "From the submission of an execution to its end, by phase",
    ("flyte.execution.phase",),
)
NODE: Final = Metric(
    "airscrew.node.duration",
    Kind.HISTOGRAM,
    "s",
    "From when a node could start to its end, by phase",
    ("flyte.node.phase", "airscrew.error.kind"),
)
QUEUED: Final = Metric(
    "airscrew.attempt.queued",
    Kind.HISTOGRAM,
    "s",
    "From when an attempt could start until its executor had begun it, told at its end",
)
ATTEMPT: Final = Metric(
    "airscrew.attempt.duration",
    Kind.HISTOGRAM,
    "s",
    "From the beginning of an attempt on its executor to its outcome",
    ("airscrew.attempt.phase",),
)
HISTOGRAMS: Final = (TURN, COMMIT, ACCEPTANCE, EXECUTION, NODE, QUEUED, ATTEMPT)

LOOKED_AT: Final = (
    Metric(
        "airscrew.leader", Kind.GAUGE, "{shard}", "1 while this replica leads the shard, else 0", ("airscrew.shard",)
    ),
    Metric("airscrew.leader.epoch", Kind.GAUGE, "{epoch}", "The epoch in which it leads", ("airscrew.shard",)),
    Metric(
        "airscrew.leader.terms", Kind.COUNTER, "{term}", "How often this replica has begun to lead", ("airscrew.shard",)
    ),
    Metric(
        "airscrew.leader.cold",
        Kind.GAUGE,
        "{execution}",
        "Executions taken over that had no turn yet",
        ("airscrew.shard",),
    ),
    Metric("airscrew.turns", Kind.COUNTER, "{turn}", "Turns that have been committed"),
    Metric("airscrew.commits", Kind.COUNTER, "{transaction}", "Transactions, by result", ("airscrew.commit.result",)),
    Metric("airscrew.commit.rows", Kind.COUNTER, "{row}", "Rows that were committed"),
    Metric("airscrew.executions.accepted", Kind.COUNTER, "{execution}", "Executions that have had their first turn"),
    Metric(
        "airscrew.executions.ended",
        Kind.COUNTER,
        "{execution}",
        "Executions that have ended, by phase and project",
        ("flyte.execution.phase", "flyte.project"),
    ),
    Metric(
        "airscrew.attempts.ended",
        Kind.COUNTER,
        "{attempt}",
        "Attempts that have ended, by outcome",
        ("airscrew.attempt.phase",),
    ),
    Metric(
        "airscrew.cache.lookups",
        Kind.COUNTER,
        "{node}",
        "Nodes of cacheable tasks, by what the cache did for them",
        ("airscrew.cache.status",),
    ),
    Metric("airscrew.attempts.pending", Kind.GAUGE, "{attempt}", "Attempts that wait for a slot", ("airscrew.shard",)),
    Metric("airscrew.executors.connected", Kind.GAUGE, "{executor}", "Executors with a session", ("airscrew.shard",)),
    Metric(
        "airscrew.executors.closed",
        Kind.GAUGE,
        "{executor}",
        "Those that take nothing new: they drain, or are in trouble",
        ("airscrew.shard",),
    ),
    Metric("airscrew.executors.lost", Kind.COUNTER, "{executor}", "Executors that were not heard of for too long"),
    Metric(
        "airscrew.slots.capacity",
        Kind.GAUGE,
        "1",
        "What all executors have, by resource: cores, bytes, GPUs",
        ("airscrew.shard", "airscrew.resource"),
    ),
    Metric("airscrew.slots.used", Kind.GAUGE, "1", "What of it attempts hold", ("airscrew.shard", "airscrew.resource")),
    Metric(
        "airscrew.workers",
        Kind.GAUGE,
        "{worker}",
        "Executions that may be on their way into memory at once",
        ("airscrew.shard",),
    ),
    Metric("airscrew.workers.free", Kind.GAUGE, "{worker}", "How many more could be", ("airscrew.shard",)),
)
METRICS: Final = (*LOOKED_AT, *HISTOGRAMS, *queues.METRICS)

_CACHE: Final = {
    CacheStatus.HIT: "hit",
    CacheStatus.MISS: "miss",
    CacheStatus.POPULATED: "populated",
    CacheStatus.SKIPPED: "skipped",
    CacheStatus.LOOKUP_FAILURE: "lookup_failure",
    CacheStatus.PUT_FAILURE: "put_failure",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a term looks like now. Totals are those since it began."""

    epoch: int
    cold: int
    turns: int
    commits: Mapping[str, int]
    """By result."""
    rows: int
    pending: int
    connected: int
    closed: int
    lost: int
    capacity: Slots
    used: Slots
    workers: int
    free_workers: int
    queue: Metrics | None
    """Of the leader's own work queue."""


class Meters:
    """Everything that a propeller process counts, in all of its terms."""

    def __init__(self, metering: Metering, clock: Clock, shards: Iterable[int]) -> None:
        """`shards` are those that it may lead."""
        self._clock = clock
        self._looks: dict[int, Callable[[], Look]] = {}
        """How the terms look that last, by shard."""
        self._shards = tuple(shards)
        self._totals: dict[_Series, float] = {("airscrew.leader.terms", _of(shard)): 0 for shard in self._shards}
        """Of terms that are over, and of what turns have ended."""
        for name in ("airscrew.executions.accepted", "airscrew.executors.lost"):
            self._totals[name, ()] = 0
        self._projects = Names()
        self._queues = queues.Recorders(metering)
        self._turn, self._commit, self._acceptance, self._execution, self._node, self._queued, self._attempt = (
            metering.histogram(metric) for metric in HISTOGRAMS
        )
        self.board = Board(metering, (*LOOKED_AT, *queues.LOOKED_AT), self._look)

    # ----------------------------------------------------------------------------------------------------- terms

    def observer(self, shard: int) -> QueueMetrics[int]:
        """What the work queue of a term tells."""
        return self._queues.observer(_queue(shard))

    def begin(self, shard: int, look: Callable[[], Look]) -> None:
        """A term has begun that looks like this."""
        self._looks[shard] = look
        self._totals["airscrew.leader.terms", _of(shard)] = 1 + self._totals.get(
            ("airscrew.leader.terms", _of(shard)), 0
        )
        self.board.look()

    def end(self, shard: int) -> None:
        """The term is over: what it has counted stays counted."""
        look = self._looks.pop(shard)()
        for series, value in _shown(shard, look):
            if series[0] in _COUNTERS:
                self._totals[series] = self._totals.get(series, 0) + value
        self.board.look()

    def _look(self) -> Values:
        values = dict(self._totals)
        for shard in self._shards:
            values["airscrew.leader", _of(shard)] = int(shard in self._looks)
        for shard, look in self._looks.items():
            for series, value in _shown(shard, look()):
                values[series] = value + (values.get(series, 0) if series[0] in _COUNTERS else 0)
        found: dict[str, list[Level]] = defaultdict(list)
        for (name, attributes), value in values.items():
            found[name].append(Level(value, dict(attributes)))
        return found

    # ----------------------------------------------------------------------------------------------------- turns

    def commit(self, start_us: int, end_us: int) -> None:
        """A transaction has succeeded."""
        self._commit((end_us - start_us) / 1e6, {})

    def turn(self, changes: Changes, started_us: int) -> None:
        """A turn that changed something has been committed."""
        trace = root_context(changes.execution)
        self._turn((self._clock.now_us() - started_us) / 1e6, {}, trace)
        for attempt in changes.attempts.values():
            if attempt.phase.terminal:
                self._ended_attempt(attempt, trace)
        for node in changes.nodes.values():
            if node.phase.terminal and node.kind is not NodeKind.START and node.kind is not NodeKind.END:
                self._ended_node(node, trace)
        if any(event.kind == "ExecutionStarted" for event in changes.events):
            self._count("airscrew.executions.accepted")
            self._acceptance(_seconds(changes.execution.created_at_us, started_us), {}, trace)
        if changes.execution_changed and changes.execution.phase.terminal:
            self._ended_execution(changes.execution, trace)

    def _ended_attempt(self, attempt: AttemptState, trace: TraceContext | None) -> None:
        phase = attempt.phase.name
        self._count("airscrew.attempts.ended", ("airscrew.attempt.phase", phase))
        if attempt.started_at_us is not None:
            # Told now and not when it began: its row may change many times, or only once, while it runs.
            self._queued(_seconds(attempt.created_at_us, attempt.started_at_us), {}, trace)
            self._attempt(
                _seconds(attempt.started_at_us, attempt.ended_at_us), {"airscrew.attempt.phase": phase}, trace
            )

    def _ended_node(self, node: NodeState, trace: TraceContext | None) -> None:
        about: dict[str, Attribute] = {"flyte.node.phase": node.phase.name, "airscrew.error.kind": _blame(node.error)}
        self._node(_seconds(node.created_at_us, node.ended_at_us), about, trace)
        if node.cache_status in _CACHE:
            self._count("airscrew.cache.lookups", ("airscrew.cache.status", _CACHE[node.cache_status]))

    def _ended_execution(self, execution: ExecutionState, trace: TraceContext | None) -> None:
        phase = execution.phase.name
        self._count(
            "airscrew.executions.ended",
            ("flyte.execution.phase", phase),
            ("flyte.project", self._projects.of(execution.id.project)),
        )
        about = {"flyte.execution.phase": phase}
        self._execution(_seconds(execution.created_at_us, execution.ended_at_us), about, trace)

    def _count(self, name: str, *attributes: tuple[str, str]) -> None:
        self._totals[name, attributes] = self._totals.get((name, attributes), 0) + 1


_Attributes = tuple[tuple[str, str | int], ...]
_Series = tuple[str, _Attributes]

_COUNTERS: Final = frozenset(metric.name for metric in (*LOOKED_AT, *queues.LOOKED_AT) if metric.kind is Kind.COUNTER)


def _shown(shard: int, look: Look) -> Iterator[tuple[_Series, float]]:
    """All series of a term, with their values."""
    of = _of(shard)
    for name, value in (
        ("airscrew.leader.epoch", look.epoch),
        ("airscrew.leader.cold", look.cold),
        ("airscrew.attempts.pending", look.pending),
        ("airscrew.executors.connected", look.connected),
        ("airscrew.executors.closed", look.closed),
        ("airscrew.workers", look.workers),
        ("airscrew.workers.free", look.free_workers),
    ):
        yield (name, of), value
    for name, value in (
        ("airscrew.turns", look.turns),
        ("airscrew.commit.rows", look.rows),
        ("airscrew.executors.lost", look.lost),
    ):
        yield (name, ()), value
    for result, count in look.commits.items():
        yield ("airscrew.commits", (("airscrew.commit.result", result),)), count
    for name, slots in (("airscrew.slots.capacity", look.capacity), ("airscrew.slots.used", look.used)):
        for resource, amount in (
            ("cpu", slots.cpu_millis / 1000),
            ("memory", slots.memory_bytes),
            ("gpu", slots.gpus),
        ):
            yield (name, (*of, ("airscrew.resource", resource))), amount
    if look.queue is not None:
        for name, levels in queues.levels({_queue(shard): look.queue}).items():
            for level in levels:
                yield (name, (("name", _queue(shard)),)), level.value


def _of(shard: int) -> _Attributes:
    return (("airscrew.shard", shard),)


def _queue(shard: int) -> str:
    return f"turns-{shard}"


def _seconds(start_us: int | None, end_us: int | None) -> float:
    """From one to the other; none when one of them is not known, or clocks disagree."""
    return 0.0 if start_us is None or end_us is None else max(0, end_us - start_us) / 1e6


def _blame(error: bytes | None) -> str:
    """Whose fault it was, as FlytePropeller tells errors apart; empty when it was none."""
    if error is None:
        return ""
    return ErrorKind(execution_pb2.ExecutionError.FromString(error).kind).name.lower()
