"""Why a node stands where it stands: rows and, where the leader answers, its own facts, as a code and a sentence.

Pure. What has to be read for this is in `explain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2

from libs.clients.propeller import Status, Waiting
from libs.store.stories import Computing, OpenSignal
from libs.workflow import waits
from libs.workflow.identity import AttemptId, ExecutionId
from libs.workflow.phases import AttemptPhase, NodeKind, NodePhase, ReservationStatus
from libs.workflow.quantities import Slots
from libs.workflow.state import AttemptState, ExecutionState, NodeState
from libs.workflow.waits import Wait


class Code(StrEnum):
    """What can be the cause, for programs."""

    NO_FITTING_EXECUTOR = "NO_FITTING_EXECUTOR"
    ONLY_INTERRUPTIBLE = "ONLY_INTERRUPTIBLE"
    NO_EXECUTOR = "NO_EXECUTOR"
    NO_LEADER = "NO_LEADER"
    EXECUTOR_SILENT = "EXECUTOR_SILENT"
    SIGNAL = "SIGNAL"
    PROJECT_LIMIT = "PROJECT_LIMIT"
    MAX_PARALLELISM = "MAX_PARALLELISM"
    CHILD = "CHILD"
    CACHE = "CACHE"
    BACK_OFF = "BACK_OFF"
    QUEUED = "QUEUED"
    COMPILING = "COMPILING"
    STOPPING = "STOPPING"
    SLEEP = "SLEEP"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    STARTING = "STARTING"
    UPSTREAM = "UPSTREAM"
    NOT_BEGUN = "NOT_BEGUN"
    MORE = "MORE"
    NODE_FAILED = "NODE_FAILED"
    ATTEMPT_FAILED = "ATTEMPT_FAILED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"

    @property
    def rank(self) -> int:
        """What is worth telling first."""
        return _RANK[self]


_RANK = {code: number for number, code in enumerate(Code)}
_OF_WAIT = {
    Wait.NO_EXECUTOR: Code.NO_EXECUTOR,
    Wait.NO_FITTING_EXECUTOR: Code.NO_FITTING_EXECUTOR,
    Wait.ONLY_INTERRUPTIBLE: Code.ONLY_INTERRUPTIBLE,
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that explains another. Times are microseconds since the epoch, 0 where there is none."""

    code: Code
    sentence: str
    execution: ExecutionId
    node_id: str = ""
    attempt: int | None = None
    since_us: int = 0
    until_us: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()

    def because(self, *causes: Cause) -> Cause:
        return replace(self, causes=(*self.causes, *causes))


@dataclass(slots=True)
class Known:
    """What was found out about an execution and some of its nodes."""

    execution: ExecutionState
    now_us: int
    attempts: Mapping[str, Sequence[AttemptState]] = field(default_factory=dict)
    """Of each of the nodes, in order."""
    running: int = 0
    """Attempts of the execution that are under way."""
    signals: Mapping[str, OpenSignal] = field(default_factory=dict)
    """By node."""
    computing: Mapping[bytes, Computing] = field(default_factory=dict)
    """By key of the cache."""
    children: Mapping[int, ExecutionId] = field(default_factory=dict)
    status: Status | None = None
    """None when the leader does not answer."""


def of_open_node(known: Known, node: NodeState) -> Cause:
    """Why a node that is not final, and has no open nodes of its own, is where it is."""
    about = _About(known, node)
    attempt = about.attempt
    if attempt is not None and not attempt.phase.terminal:
        if attempt.executor is None:
            return about.waits_for_slot(attempt)
        return about.is_placed(attempt)
    if node.phase is NodePhase.FAILING and node.child_key is None:
        return about.cause(Code.STOPPING, "what runs in it is being stopped")
    if node.child_key is not None:
        return about.waits_for_child(node.child_key)
    if node.kind is NodeKind.GATE:
        return about.waits_at_gate()
    if node.kind is NodeKind.TASK and node.futures_uri is not None and node.closure_uri is None:
        return about.cause(Code.COMPILING, "the nodes that it has asked for are being compiled", attempt=node.attempt)
    if node.kind is not NodeKind.TASK or node.closure_uri is not None:
        return about.cause(Code.STARTING, "its next nodes are about to start: what they read is being fetched")
    if node.reservation is ReservationStatus.EXISTS:
        return about.waits_for_cache()
    if node.wake_at_us is not None:
        return about.backs_off(attempt, node.wake_at_us)
    return about.held_back()


class _About:
    """Causes that are about one node."""

    def __init__(self, known: Known, node: NodeState) -> None:
        self._known = known
        self._node = node
        attempts = known.attempts.get(node.id, ())
        self.attempt = attempts[-1] if attempts else None

    def cause(
        self,
        code: Code,
        sentence: str,
        *,
        attempt: int | None = None,
        since_us: int | None = None,
        until_us: int = 0,
        facts: Mapping[str, str] | None = None,
    ) -> Cause:
        since = since_us or self._node.updated_at_us or 0
        return Cause(
            code, sentence, self._known.execution.id, self._node.id, attempt, since, until_us, dict(facts or {})
        )

    def _ago(self, us: int) -> str:
        return span(self._known.now_us - us)

    def waits_for_slot(self, attempt: AttemptState) -> Cause:
        status = self._known.status
        identity = AttemptId(self._known.execution.key, self._node.id, attempt.attempt)
        live = status.waiting.get(identity) if status else None
        code, sentence = waits.parse(live.reason if live is not None else attempt.reason)
        number, since = attempt.attempt, attempt.created_at_us
        if code is not None:
            asked = {"asked": waits.shown(live.asked)} if live is not None else {}
            return self.cause(_OF_WAIT[code], sentence, attempt=number, since_us=since, facts=asked)
        if live is None:
            sentence = f"it has been waiting for a slot for {self._ago(since)}"
            return self.cause(Code.QUEUED, sentence, attempt=number, since_us=since)
        return self._waits_in_line(live, number)

    def _waits_in_line(self, live: Waiting, attempt: int) -> Cause:
        project = self._known.execution.id.project
        facts = {
            "asked": waits.shown(live.asked),
            "ahead": str(live.ahead),
            "running_of_project": str(live.running),
            "waiting_of_project": str(live.in_project),
        }
        code, sentence = Code.QUEUED, f"it waits for a slot behind {_about(live.ahead)}"
        if live.starting:
            sentence = "the leader has just begun and counts what runs before it places anything of a limited project"
        elif live.limit and live.running >= live.limit:
            code = Code.PROJECT_LIMIT
            facts["limit"] = str(live.limit)
            sentence = f"{live.running} attempts of project {project} run, and no more than {live.limit} may"
        elif live.kept:
            facts["kept"] = live.kept
            sentence += f"; slots of executor {live.kept} are kept for it until there are enough"
        elif live.elsewhere != Slots():
            facts["elsewhere"] = waits.shown(live.elsewhere)
            sentence += f"; {waits.shown(live.elsewhere)} are with the leaders of other shards"
        return self.cause(code, sentence, attempt=attempt, since_us=live.since_us, facts=facts)

    def is_placed(self, attempt: AttemptState) -> Cause:
        executor, number = attempt.executor or "", attempt.attempt
        facts = {"executor": executor}
        status = self._known.status
        known = status.executors.get(executor) if status else None
        if status is not None and (known is None or not known.connected):
            silent = known.silent_us if known else 0
            heard = f", nothing was heard of it for {span(silent)}" if silent else ""
            return self.cause(
                Code.EXECUTOR_SILENT,
                f"its executor {executor} is not connected{heard}; "
                f"after {span(status.grace_us)} it counts as lost and the attempt is tried again",
                attempt=number,
                since_us=self._known.now_us - silent,
                facts=facts,
            )
        if self._node.phase is NodePhase.FAILING:
            return self.cause(Code.STOPPING, f"it is being stopped on executor {executor}", attempt=number, facts=facts)
        if attempt.phase is AttemptPhase.RUNNING:
            since = attempt.started_at_us or attempt.placed_at_us or 0
            sentence = f"it runs on executor {executor} for {self._ago(since)}"
            return self.cause(Code.RUNNING, sentence, attempt=number, since_us=since, facts=facts)
        since = attempt.placed_at_us or 0
        sentence = f"executor {executor} prepares it for {self._ago(since)}"
        if attempt.reason:
            sentence += f"; it waits: {attempt.reason}"
        return self.cause(Code.PREPARING, sentence, attempt=number, since_us=since, facts=facts)

    def waits_for_child(self, child_key: int) -> Cause:
        child = self._known.children.get(child_key)
        stopping = self._node.phase is NodePhase.FAILING
        sentence = f"it waits for the execution {child or child_key} that it has launched"
        return self.cause(
            Code.CHILD,
            sentence + (" to be aborted" if stopping else ""),
            since_us=self._node.started_at_us,
            facts={"child": str(child or child_key)},
        )

    def waits_at_gate(self) -> Cause:
        signal = self._known.signals.get(self._node.id)
        wake = self._node.wake_at_us or 0
        execution = self._known.execution.id
        if signal is None:
            left = f" for another {span(wake - self._known.now_us)}" if wake else ""
            return self.cause(Code.SLEEP, f"it sleeps{left}", until_us=wake)
        return self.cause(
            Code.SIGNAL,
            f"it has been waiting for the signal {signal.id!r} for {self._ago(signal.since_us)}: give it with "
            f"`airscrew signal {execution} {signal.id} VALUE`, or `airscrew approve {execution} {signal.id}`",
            since_us=signal.since_us,
            until_us=wake,
            facts={"signal": signal.id},
        )

    def waits_for_cache(self) -> Cause:
        found = self._known.computing.get(self._node.cache_key or b"")
        if found is None:
            return self.cause(Code.CACHE, "another node computes the same, and it will take over its outputs")
        return self.cause(
            Code.CACHE,
            f"node {found.node_id} of execution {found.execution} computes the same for {self._ago(found.since_us)}, "
            "and it will take over its outputs",
            facts={"computing_execution": str(found.execution), "computing_node": found.node_id},
        )

    def backs_off(self, attempt: AttemptState | None, wake_at_us: int) -> Cause:
        left = span(wake_at_us - self._known.now_us)
        cause = self.cause(
            Code.BACK_OFF,
            f"attempt {self._node.attempt} begins in {left}",
            attempt=self._node.attempt,
            until_us=wake_at_us,
        )
        return cause if attempt is None else cause.because(of_ended_attempt(self._known.execution.id, attempt))

    def held_back(self) -> Cause:
        limit = execution_pb2.ExecutionSpec.FromString(self._known.execution.spec).max_parallelism
        running = self._known.running
        if not limit:
            return self.cause(Code.STARTING, "it is about to start")
        return self.cause(
            Code.MAX_PARALLELISM,
            f"max_parallelism holds it back: {running} attempts of this execution are under way, {limit} may be",
            facts={"running": str(running), "limit": str(limit)},
        )


def error_text(error: bytes | None) -> str:
    """A serialized error in one line."""
    found = core_execution_pb2.ExecutionError.FromString(error or b"")
    return f"{found.code}: {found.message}" if error else "nobody says why"


def of_ended_attempt(execution: ExecutionId, attempt: AttemptState) -> Cause:
    """What became of an attempt that did not succeed."""
    error = core_execution_pb2.ExecutionError.FromString(attempt.error or b"")
    where = f" on executor {attempt.executor}" if attempt.executor else ""
    said = error_text(attempt.error) if attempt.error else attempt.reason
    ended = attempt.phase.name.lower().replace("_", " ")
    return Cause(
        Code.ATTEMPT_FAILED,
        f"attempt {attempt.attempt}{where} is {ended}{f': {said}' if said else ''}",
        execution,
        attempt.node_id,
        attempt.attempt,
        attempt.ended_at_us or 0,
        facts={"phase": attempt.phase.name, "executor": attempt.executor or "", "code": error.code},
    )


def of_failed_node(execution: ExecutionId, node: NodeState) -> Cause:
    """That a node has failed, with its error."""
    error = core_execution_pb2.ExecutionError.FromString(node.error or b"")
    return Cause(
        Code.NODE_FAILED,
        f"{node.kind.name.lower().replace('_', ' ')} node {node.id} failed: {error_text(node.error)}",
        execution,
        node.id,
        since_us=node.ended_at_us or 0,
        facts={"code": error.code, "kind": core_execution_pb2.ExecutionError.ErrorKind.Name(error.kind)},
    )


def span(us: int) -> str:
    """A length of time for people: `0.3 s`, `12 s`, `5 min`, `3 h`."""
    seconds = max(0, us) / 1e6
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _about(count: int) -> str:
    if not count:
        return "those that run: it is the next"
    return f"about {count} other{'s' if count > 1 else ''}"
