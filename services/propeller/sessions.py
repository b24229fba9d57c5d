"""Executors that are connected to this leader: what they are sent, what they report, and when they are lost.

An executor has one session with a leader. When it connects, its snapshot says what it still knows: running attempts are
adopted, reports that nobody acknowledged are folded in, an attempt that was committed but never reached it is sent
again, and one that it has forgotten is lost. An executor that is silent for longer than its grace, counted from the
later of its last sign of life and the beginning of this leadership, is lost with all its attempts (promise P5).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from libs.rpc.stream import Batcher
from libs.runtime.clock import Clock
from libs.wire import reports
from libs.wire.session import (
    INTERRUPTIBLE,
    Ack,
    Demand,
    Drain,
    ExecutorSays,
    FromLeader,
    Hello,
    Report,
    ReportPhase,
    Stop,
)
from libs.workflow.errors import ResourceExhausted
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution, LiveNode
from libs.workflow.machine import messages as m
from libs.workflow.phases import AttemptPhase, NodePhase
from services.propeller.assignments import Assignments
from services.propeller.library import Library
from services.propeller.placement import Placement

logger = logging.getLogger(__name__)

OUTBOX_CAPACITY = 100_000
"""Messages that may wait for a slow executor; beyond that its session is ended."""
WATCH_SECONDS = 1.0
PATIENT = -1_000
"""The priority of turns that change nothing, as far as one can tell: after all others."""
ACKNOWLEDGE_SECONDS = 0.05
"""How long acknowledgements gather before they are sent."""


@dataclass(slots=True)
class Session:
    """One connection of an executor."""

    executor: str
    incarnation: str
    last_seen: float
    """Monotonic seconds."""
    outbox: Batcher[FromLeader] = field(default_factory=lambda: Batcher(OUTBOX_CAPACITY))
    specs: set[bytes] = field(default_factory=set)
    """Digests of the specs that were sent in this session."""
    known: set[AttemptId] = field(default_factory=set)
    """Attempts that the executor has told of or was sent, and whose end is not acknowledged."""
    former: str = ""
    """The executor's incarnation before this one, if it is known what that had begun."""
    begun: frozenset[AttemptId] = frozenset()
    """What that had begun and not ended."""
    acks: list[Ack] = field(default_factory=list)
    """Not sent yet, for nobody waits for them: they gather, so that they are not messages of their own."""
    draining: bool = False
    trouble: str = ""
    demand: Demand = field(default_factory=Demand)
    """What it was told last of what waits here for its slots."""
    messages_received: int = 0


class Sessions:
    """All executors of a leader, connected or not."""

    def __init__(
        self,
        library: Library,
        placement: Placement,
        assignments: Assignments,
        clock: Clock,
        grace_seconds: float,
        tell: Callable[[int, m.Event, int], None],
        tell_all: Callable[[Mapping[int, Iterable[m.Event]]], None],
        fill: Callable[[], None],
        when_quiet: Callable[[int, Callable[[], None]], None],
    ) -> None:
        """`tell` puts an event into an execution's inbox, for a turn of some priority, `tell_all` those of several;
        `fill` gives free slots to attempts that wait; `when_quiet` calls back as soon as no turn of an execution is
        open."""
        self._library = library
        self._placement = placement
        self._assignments = assignments
        self._clock = clock
        self._grace = grace_seconds
        self._tell = tell
        self._tell_all = tell_all
        self._fill = fill
        self._when_quiet = when_quiet
        self._sessions: dict[str, Session] = {}
        self._last_seen: dict[str, float] = {}
        self._began = clock.monotonic()
        self._messages_ended = (0, 0)
        """Messages sent to and received from sessions that are over."""
        self._over = False
        self.lost = 0
        """How many executors were given up with attempts that they had."""

    def connected(self) -> list[Session]:
        return list(self._sessions.values())

    @property
    def messages(self) -> tuple[int, int]:
        """Stream messages sent and received by this leader."""
        sent, received = self._messages_ended
        for session in self._sessions.values():
            sent += session.outbox.batches
            received += session.messages_received
        return sent, received

    # ------------------------------------------------------------------------------------------- coming and going

    def open(self, hello: Hello) -> Session:
        """An executor has connected. A session that it had before is ended, and this one too if the term is over."""
        previous = self._sessions.get(hello.executor)
        if previous is not None:
            self.close(previous)
        session = Session(hello.executor, hello.incarnation, self._clock.monotonic())
        session.former, session.begun = hello.former, frozenset(hello.begun)
        if self._over:
            session.outbox.close()
            return session
        self._sessions[hello.executor] = session
        interruptible = hello.labels.get(INTERRUPTIBLE) == "true"
        self._placement.open(
            hello.executor, hello.incarnation, hello.capacity, interruptible, hello.backlog, hello.places
        )
        if hello.offer is not None:
            self._placement.offer(hello.executor, hello.offer)
        logger.info("executor %s connected (%s)", hello.executor, hello.incarnation)
        session.known.update(report.id for report in hello.snapshot)
        self._reconcile(session)
        for report in hello.snapshot:
            # What goes on as before is no news, and of ten thousand attempts at once there may be much.
            self._tell(
                report.id.execution, reports.event(report, session.executor), 0 if report.phase.final else PATIENT
            )
        self._fill()
        return session

    def close(self, session: Session) -> None:
        """The connection is over. What the executor runs goes on; its grace begins."""
        session.outbox.close()
        if self._is_over(session):
            return
        sent, received = self._messages_ended
        self._messages_ended = (sent + session.outbox.batches, received + session.messages_received)
        del self._sessions[session.executor]
        self._last_seen[session.executor] = session.last_seen
        self._placement.set_open(session.executor, False, "not connected")
        logger.info("executor %s disconnected", session.executor)

    def end(self) -> None:
        """The term is over, and with it every session: executors look for the next leader."""
        self._over = True
        for session in self.connected():
            self.close(session)

    def _is_over(self, session: Session) -> bool:
        return self._sessions.get(session.executor) is not session

    def _reconcile(self, session: Session) -> None:
        """Compares what the executor knows with what was placed on it.

        Only what is committed counts: an execution whose turn is open is looked at when that has an outcome.
        """
        for identity in self._placement.attempts_on(session.executor):
            self._when_quiet(identity.execution, partial(self._compare, session, identity))

    def adopt(self, execution: Execution) -> None:
        """Compares what a freshly read execution has placed with what its executors know."""
        for node in execution.live.values():
            session = self._sessions.get(node.attempt.executor or "") if node.attempt else None
            if session is not None and node.attempt is not None:
                self._compare(session, AttemptId(execution.state.key, node.state.id, node.attempt.attempt), execution)

    def _compare(self, session: Session, identity: AttemptId, execution: Execution | None = None) -> None:
        execution = execution or self._library.get(identity.execution)
        node = execution.attempt(identity.node, identity.attempt) if execution else None
        if self._is_over(session) or execution is None or node is None or node.attempt is None:
            return
        if node.attempt.executor != session.executor:
            return
        if identity in session.known:
            # It runs, or its final report is on the way: perhaps one of an earlier life of the executor.
            if node.state.phase is NodePhase.FAILING:
                self.stop(identity, session.executor, "the execution is ending")
        elif node.attempt.incarnation != session.incarnation:
            self._lose_in_restart(session, identity, node)
        elif node.attempt.phase is AttemptPhase.QUEUED and node.state.phase is not NodePhase.FAILING:
            self.dispatch(execution, identity.node, identity.attempt)
        else:
            self._lose(identity, node, "its executor does not know it any more")

    # ------------------------------------------------------------------------------------------------- what they say

    def receive(self, session: Session, said: ExecutorSays) -> None:
        """A message of a connected executor. What comes after the end of its session is in its next snapshot."""
        if self._is_over(session):
            return
        session.last_seen = self._clock.monotonic()
        session.messages_received += 1
        if said.heartbeat is not None:
            session.trouble = said.heartbeat.trouble
        session.draining = session.draining or said.draining
        trouble = session.trouble or ("it drains" if session.draining else "")
        self._placement.set_open(session.executor, not trouble, trouble)
        if said.offer is not None:
            self._placement.offer(session.executor, said.offer)
        self.fold(session, said.reports)
        if said.heartbeat is not None or said.offer is not None:
            self._fill()

    def fold(self, session: Session, said: Iterable[Report]) -> None:
        """Reports become events of their executions."""
        by_execution: defaultdict[int, list[m.Event]] = defaultdict(list)
        for report in said:
            by_execution[report.id.execution].append(reports.event(report, session.executor))
            if report.phase is ReportPhase.REJECTED:
                self._placement.turned_away(report.id)
            elif report.phase.final and report.started_us:
                self._placement.lasted(report.id, report.at_us - report.started_us)
        self._tell_all(by_execution)

    # ------------------------------------------------------------------------------------------- what they are told

    def dispatch(self, execution: Execution, node_id: str, attempt: int) -> None:
        """Sends a committed attempt to its executor; when that is away it gets it on its return."""
        node = execution.attempt(node_id, attempt)
        if node is None or node.attempt is None or node.attempt.executor is None or node.spec.task is None:
            return
        session = self._sessions.get(node.attempt.executor)
        if session is None:
            return
        if session.incarnation != node.attempt.incarnation:
            self._lose_in_restart(session, AttemptId(execution.state.key, node_id, attempt), node)
            return
        if node.spec.task.digest not in session.specs:
            session.specs.add(node.spec.task.digest)
            self._send(session, self._assignments.spec(node))
        assignment = self._assignments.assign(execution, node)
        session.known.add(assignment.id)
        self._send(session, assignment)

    def stop(self, identity: AttemptId, executor: str, reason: str) -> None:
        session = self._sessions.get(executor)
        if session is not None:
            self._send(session, Stop(identity, reason))

    def drain(self, executor: str, grace_us: int) -> bool:
        """Asks an executor to drain; whether it is connected. It says itself that it does."""
        session = self._sessions.get(executor)
        if session is not None:
            self._send(session, Drain(grace_us))
        return session is not None

    def demand(self, executor: str, demand: Demand, again: bool) -> None:
        """Tells an executor that several shards share what waits here for its slots, if that is news, or `again`."""
        session = self._sessions.get(executor)
        if session is not None and (again or session.demand != demand):
            session.demand = demand
            self._send(session, demand)

    def disown(self, identity: AttemptId, executor: str) -> None:
        self.stop(identity, executor, "this attempt has been superseded")

    def acknowledge(self, identity: AttemptId, executor: str, seq: int) -> None:
        session = self._sessions.get(executor)
        if session is not None:
            session.known.discard(identity)
            if not session.acks:
                asyncio.get_running_loop().call_later(ACKNOWLEDGE_SECONDS, self._send_acks, session)
            session.acks.append(Ack(identity, seq))

    def _send_acks(self, session: Session) -> None:
        acks, session.acks = session.acks, []
        self._send(session, *acks)

    def _send(self, session: Session, *items: FromLeader) -> None:
        try:
            session.outbox.put_all(items)
        except ResourceExhausted as error:
            logger.warning("the session of executor %s is ended: %s", session.executor, error.message)
            self.close(session)

    # ---------------------------------------------------------------------------------------------------- silence

    async def watch(self) -> None:
        """Looks for ever for executors that have been silent for too long."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.lose_the_silent()

    def lose_the_silent(self) -> None:
        """Gives up the attempts of executors whose grace is over."""
        now = self._clock.monotonic()
        for session in self.connected():
            if now - session.last_seen > self._grace:
                logger.warning("executor %s is silent: its session is ended", session.executor)
                self.close(session)
        placed_on = {room.executor for room in self._placement.rooms.all()} | self._placement.holders()
        for executor in placed_on:
            if executor not in self._sessions and now - self._last_sign(executor) > self._grace:
                self._lose_all(executor)
                self._last_seen.pop(executor, None)

    def silence(self, executor: str) -> float:
        """For how many seconds nothing was heard of an executor."""
        session = self._sessions.get(executor)
        return self._clock.monotonic() - (self._last_sign(executor) if session is None else session.last_seen)

    def _last_sign(self, executor: str) -> float:
        return max(self._last_seen.get(executor, self._began), self._began)

    def _lose_all(self, executor: str) -> None:
        attempts = self._placement.attempts_on(executor)
        logger.warning("executor %s is lost with %d attempts", executor, len(attempts))
        self.lost += bool(attempts)
        self._placement.forget(executor)
        for identity in attempts:
            execution = self._library.get(identity.execution)
            node = execution.attempt(identity.node, identity.attempt) if execution else None
            if node is not None:
                self._lose(identity, node, f"executor {executor} was not heard of for {self._grace:g} s")

    def _lose_in_restart(self, session: Session, identity: AttemptId, node: LiveNode) -> None:
        """What the executor says of its life before counts for what was assigned to that; else an attempt had begun."""
        attempt = node.attempt
        told = attempt is not None and session.former and session.former == attempt.incarnation
        runs = attempt is not None and attempt.phase is AttemptPhase.RUNNING
        begun = not told or runs or identity in session.begun
        reason = "its executor was restarted" if begun else "its executor was restarted before it began"
        self._lose(identity, node, reason, begun)

    def _lose(self, identity: AttemptId, node: LiveNode, reason: str, begun: bool = True) -> None:
        if node.attempt is not None and node.attempt.incarnation is not None:
            lost = m.Lost(identity.node, identity.attempt, node.attempt.incarnation, reason, begun)
            self._tell(identity.execution, lost, 0)
