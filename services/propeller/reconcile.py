"""A turn: events of one execution are folded in, what changed is committed, and only then does anything follow.

Persist, then dispatch, then acknowledge (promise P3). From the events of a turn to its commit no other turn of the same
execution is open (P7): the local work queue keeps the key in its processing set until the commit has an outcome.

When a commit fails, nothing of the turn has happened: the execution is forgotten and read again, slots taken for it are
given back, and the reports that were folded in wait to be folded in again. They are facts; folding one in twice is
harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.runtime.clock import Clock
from libs.workerpool import WorkerPool
from libs.workflow.errors import AirscrewError, KeyTaken, Unavailable
from libs.workflow.identity import AttemptId
from libs.workflow.launch import priority
from libs.workflow.machine import Execution, LiveNode, Stepper, Turn, interruptible
from libs.workflow.machine import messages as m
from libs.workqueue import DelayingQueue, Item, ItemExponential, WorkQueue
from libs.workqueue.observer import Observer
from services.propeller.arrivals import Arrivals
from services.propeller.assignments import Assignments
from services.propeller.committer import Committer, Pending
from services.propeller.library import Library
from services.propeller.outside import QUESTIONS, Outside
from services.propeller.placement import Place, Placement
from services.propeller.spans import Spans, child_traceparent

logger = logging.getLogger(__name__)

RETRY_BASE_US = 100_000
RETRY_CAP_US = 5_000_000
"""How long an execution waits after a turn that could not be committed or loaded."""


@dataclass(slots=True, kw_only=True)
class Opened(Pending):
    """A turn between its step and its commit."""

    execution: Execution
    events: list[m.Event]
    turn: Turn
    started_us: int
    settled: list[Callable[[], None]]
    """Whom to tell that what they wanted is dealt with."""
    quiet: list[Callable[[], None]] = field(default_factory=list)
    """Whom to call when it has an outcome."""


class Reconciler:
    """The turns of one leader's executions."""

    def __init__(
        self,
        library: Library,
        placement: Placement,
        committer: Callable[[], Committer[Opened]],
        assignments: Assignments,
        outside: Outside,
        pool: WorkerPool,
        clock: Clock,
        spans: Spans,
        observer: Observer[int] | None = None,
    ) -> None:
        """`observer` is told what the work queue does."""
        self._library = library
        self._placement = placement
        self._committer = committer
        self._assignments = assignments
        self._outside = outside
        self._pool = pool
        self._clock = clock
        self._spans = spans
        self._stepper = Stepper()
        self._arrivals = Arrivals(library, pool, clock, self._begin, self._fail, self._call_a_worker)
        self._queue: DelayingQueue[int] = DelayingQueue(WorkQueue(observer))
        self._observed = observer is not None
        self._limiter: ItemExponential[int] = ItemExponential(RETRY_BASE_US, RETRY_CAP_US)
        self._inbox: defaultdict[int, dict[m.Event, None]] = defaultdict(dict)
        """Facts that no turn has folded in, in order. Each is kept once, for executors repeat themselves as long as
        the store is away; so it is bounded by what they run: each attempt has a handful of reports.
        """
        self._settled: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        """Whom to tell when a turn that begins from now on has been committed."""
        self._open: dict[int, Opened] = {}
        """By key, the turns that wait for their commit."""
        self._resting: set[int] = set()
        """Keys that wait for another try of the store: whatever comes for them meanwhile waits with them."""
        self._called = False
        """Whether a worker is on its way to `_next`."""
        self._last_commit = (0, 0)
        self.delayed = asyncio.Event()
        """Set when a key was delayed, so that whoever keeps the time looks again at `next_due_us`."""
        self.turns = 0
        self._carriers: dict[type, Callable[[Execution, Any], None]] = {
            m.Dispatch: self._dispatch,
            m.Stop: self._stop,
            m.Disown: self._disown,
            m.AttendChild: self._attend_child,
            m.LookUpCache: outside.look_up_cache,
            m.LookUpChild: outside.look_up_child,
            m.AttendBelow: lambda _execution, _command: outside.attend_below(),
            m.End: lambda execution, _command: outside.ended(execution),
        }
        """What follows from a committed turn, by the kind of command; the others have been answered before."""

    # ------------------------------------------------------------------------------------------------- attention

    @property
    def busy(self) -> bool:
        """Whether there are keys that could have their turn now."""
        return len(self._arrivals) > 0 or (len(self._queue) > 0 and not self._arrivals.full)

    @property
    def arriving(self) -> int:
        """How many executions are on their way into memory."""
        return self._arrivals.under_way

    def next_due_us(self) -> int | None:
        """When the earliest delayed key is due; None when there is none, or no turn is begun any more."""
        return None if self._pool.stopped else self._queue.next_due_us()

    def attend(self, key: int, lane: str = "", priority: int = 0, delay_us: int = 0) -> None:
        """The key shall have a turn, now or after `delay_us`; later, when it waits for another try of the store."""
        if key in self._resting:
            return
        self._queue.add_after(Item(key, lane, priority), delay_us, self._clock.now_us())
        if delay_us > 0:
            self.delayed.set()
        else:
            self._call_a_worker()

    def attend_all(self, items: Iterable[Item[int]]) -> None:
        """These keys shall have turns now; later, where they wait for another try of the store."""
        now_us = self._clock.now_us()
        for item in items:
            if item.key not in self._resting:
                self._queue.add(item, now_us)
        self._call_a_worker()

    def advance(self) -> None:
        """Gives turns to the keys that are due, unless no turn is begun any more."""
        if self._queue.next_due_us() is not None:
            self._queue.advance(self._clock.now_us())
        self._call_a_worker()

    def _call_a_worker(self) -> None:
        """One is enough: before it has a turn, it calls another for the next key, should it get stuck itself.

        What else waits for a worker of the pool calls nobody. A pool that drops who was called takes no more jobs.
        """
        if self.busy and not self._called and not self._pool.stopped:
            self._called = True
            self._pool.submit(self._next)

    def tell(self, key: int, event: m.Event, priority: int = 0) -> None:
        """A fact about an execution: it gets a turn. Told again before that, it counts from now on."""
        self._inbox[key].pop(event, None)
        self._inbox[key][event] = None
        self.attend(key, str(key), priority)

    def tell_all(self, facts: Mapping[int, Iterable[m.Event]]) -> None:
        """Facts about several executions: each gets one turn for its own, in their order."""
        for key, events in facts.items():
            inbox = self._inbox[key]
            for event in events:
                inbox.pop(event, None)
                inbox[event] = None
        self.attend_all([Item(key, str(key)) for key in facts])

    def when_settled(self, key: int, callback: Callable[[], None]) -> None:
        """Calls back once a turn of this key has begun after now and is durable."""
        self._settled[key].append(callback)

    def when_quiet(self, key: int, callback: Callable[[], None]) -> None:
        """Calls back when no turn of this key is open: at once, or when the open one has its outcome."""
        opened = self._open.get(key)
        if opened is not None:
            opened.quiet.append(callback)
        else:
            callback()

    def note_batch(self, start_us: int, end_us: int, executions: int) -> None:
        """The committer tells when it wrote the batch whose turns follow."""
        self._last_commit = (start_us, end_us)

    # ------------------------------------------------------------------------------------------------------ turns

    async def _next(self) -> None:
        """What a worker does: one execution that has been read begins, and the next key has its turn, or is read."""
        self._called = False
        now_us = self._clock.now_us()
        self._arrivals.begin_next(now_us)
        handed = None if self._arrivals.full else self._queue.get(now_us)
        self._call_a_worker()
        if handed is None:
            return
        key = handed.item.key
        self._resting.discard(key)
        execution = self._library.get(key)
        if execution is None:
            await self._arrivals.read(key)
            return
        try:
            self._turn(key, execution, now_us)
        except Exception as error:
            self._fail(key, error)

    def _begin(self, key: int, execution: Execution | None, now_us: int) -> None:
        """The first turn of an execution since it is in memory."""
        # Slots that were taken for what was in memory before are given back.
        self._placement.drop(key)
        if execution is None:
            self._turn_away(key)
            return
        facts = [event for event in self._inbox.pop(key, ()) if not isinstance(event, m.Placed)]
        self._inbox[key] = dict.fromkeys([m.IntentRead(execution.state.intent), *facts])
        if execution.live:
            self._hold_what_is_placed(execution)
            self._outside.adopt(execution)
        self._turn(key, execution, now_us)

    def _turn(self, key: int, execution: Execution, now_us: int) -> None:
        events = list(self._inbox.pop(key, ()))
        settled = self._settled.pop(key, [])
        try:
            turn = self._stepper.step(execution, events, now_us)
            self._place(execution, turn, now_us)
        except Exception:
            self._take_back(key, events, settled)
            raise
        self.turns += 1
        for child in turn.changes.children:
            child.traceparent = child_traceparent(execution.state, child.parent_node_id)
        self._ask(execution, turn)
        opened = Opened(turn.changes, execution=execution, events=events, turn=turn, started_us=now_us, settled=settled)
        if turn.changes:
            self._open[key] = opened
            self._committer().submit(opened)
        else:
            self.committed([opened])

    def _hold_what_is_placed(self, execution: Execution) -> None:
        for node in execution.live.values():
            attempt = node.attempt
            if attempt is not None and attempt.executor is not None:
                identity = AttemptId(execution.state.key, attempt.node_id, attempt.attempt)
                self._placement.hold(identity, node.spec.slots, attempt.executor, execution.state.id.project)

    def _turn_away(self, key: int) -> None:
        """There is no such execution any more: whoever works for it must stop, and its reports are done with."""
        for event in self._inbox.pop(key, ()):
            if isinstance(event, m.Placed):
                self._placement.release(AttemptId(key, event.node_id, event.attempt))
            elif isinstance(event, (m.Accepted, m.Started)):
                self._outside.disown(AttemptId(key, event.node_id, event.attempt), event.executor)
            elif isinstance(event, m.REPORTS):
                self._outside.acknowledge(AttemptId(key, event.node_id, event.attempt), event.executor, event.seq)
        self._done(key, self._settled.pop(key, []))
        self.fill()
        self._call_a_worker()

    def _place(self, execution: Execution, turn: Turn, now_us: int) -> None:
        """Takes slots that are free for what the turn seeks, so that placement and attempt are one commit.

        In rounds: what has got its slot may make room for more that seeks one.
        """
        seen = 0
        while placed := self._placed_now(execution, turn.commands[seen:], now_us):
            seen = len(turn.commands)
            self._stepper.place(execution, placed, now_us, turn)

    def _placed_now(self, execution: Execution, commands: Iterable[m.Command], now_us: int) -> list[m.Placed]:
        """Attempts that get a slot at once; what seeks one no longer gives it back."""
        key = execution.state.key
        placed: list[m.Placed] = []
        for command in commands:
            if isinstance(command, m.Seek):
                node = execution.node(command.node_id)
                place = node and self._seek(execution, node, command, now_us)
                if place:
                    placed.append(
                        self.placed(execution, command.node_id, command.attempt, place.executor, place.incarnation)
                    )
            elif isinstance(command, (m.Unseek, m.AttemptEnded)):
                self._placement.release(AttemptId(key, command.node_id, command.attempt))
        return placed

    def _seek(self, execution: Execution, node: LiveNode, command: m.Seek, now_us: int) -> Place | None:
        return self._placement.seek(
            AttemptId(execution.state.key, command.node_id, command.attempt),
            node.spec.slots,
            now_us,
            project=execution.state.id.project,
            priority=priority(execution.spec),
            interruptible=interruptible(execution, node),
        )

    def placed(self, execution: Execution, node_id: str, attempt: int, executor: str, incarnation: str) -> m.Placed:
        log_uri = self._assignments.log_uri(execution, node_id, attempt)
        return m.Placed(node_id, attempt, executor, incarnation, log_uri)

    def _ask(self, execution: Execution, turn: Turn) -> None:
        for command in turn.commands:
            if isinstance(command, QUESTIONS):
                self._outside.ask(execution, command)

    # ----------------------------------------------------------------------------------------------- after commit

    def committed(self, batch: Sequence[Opened]) -> None:
        """These turns are durable: what they wished for follows."""
        for opened in batch:
            self._follow(opened)
        self.fill()
        self._call_a_worker()

    def _follow(self, opened: Opened) -> None:
        execution, turn = opened.execution, opened.turn
        key = execution.state.key
        if turn.changes:
            self._outside.changed(turn.changes, opened.started_us)
            if self._spans.enabled:
                self._spans.turn(turn.changes, opened.started_us, self._clock.now_us(), self._last_commit)
        for command in turn.commands:
            carry_out = self._carriers.get(type(command))
            if carry_out is not None:
                carry_out(execution, command)
        self._release_unused(execution, opened.events, turn)
        self._acknowledge(key, opened.events)
        self._done(key, opened.settled)
        if execution.state.phase.terminal:
            self._forget(key)
        else:
            if execution.ready:
                self.attend(key, execution.state.id.project, priority(execution.spec))
            if execution.state.next_wake_at_us is not None:
                self.attend(key, delay_us=max(1, execution.state.next_wake_at_us - self._clock.now_us()))

    def _dispatch(self, execution: Execution, command: m.Dispatch) -> None:
        self._outside.dispatch(execution, command.node_id, command.attempt)

    def _stop(self, execution: Execution, command: m.Stop) -> None:
        node = execution.attempt(command.node_id, command.attempt)
        if node is not None and node.attempt is not None and node.attempt.executor is not None:
            identity = AttemptId(execution.state.key, command.node_id, command.attempt)
            self._outside.stop(identity, node.attempt.executor, command.reason)

    def _disown(self, execution: Execution, command: m.Disown) -> None:
        self._outside.disown(AttemptId(execution.state.key, command.node_id, command.attempt), command.executor)

    def _attend_child(self, execution: Execution, command: m.AttendChild) -> None:
        self.attend(command.child_key, execution.state.id.project, priority(execution.spec))

    def _release_unused(self, execution: Execution, events: Iterable[m.Event], turn: Turn) -> None:
        """Slots taken for an attempt that did not want them any more."""
        placed = [event for event in events if isinstance(event, m.Placed)]
        if not placed:
            return
        used = {(command.node_id, command.attempt) for command in turn.commands if isinstance(command, m.Dispatch)}
        for event in placed:
            if (event.node_id, event.attempt) not in used:
                self._placement.release(AttemptId(execution.state.key, event.node_id, event.attempt))

    def _acknowledge(self, key: int, events: Iterable[m.Event]) -> None:
        for event in events:
            if isinstance(event, m.ENDS):
                self._outside.acknowledge(AttemptId(key, event.node_id, event.attempt), event.executor, event.seq)

    def fill(self) -> None:
        """Gives free slots to attempts that wait for one."""
        if not self._placement.pending:
            return
        for identity, place in self._placement.fill(self._clock.now_us()):
            execution = self._library.get(identity.execution)
            if execution is None:
                self._placement.release(identity)
            else:
                self.tell(
                    identity.execution,
                    self.placed(execution, identity.node, identity.attempt, place.executor, place.incarnation),
                )

    # ------------------------------------------------------------------------------------------- when it goes wrong

    def uncommitted(self, opened: Opened, error: AirscrewError) -> None:
        """Nothing of the turn has happened: forget what is in memory; facts stay facts.

        The slots that the execution holds stay held until it is read again, which tells whose they are.
        """
        key = opened.execution.state.key
        self._forget(key)
        facts: list[m.Event] = [event for event in opened.events if not isinstance(event, m.Placed | m.IntentRead)]
        self._take_back(key, facts, opened.settled)
        if isinstance(error, Unavailable | KeyTaken):
            self._again_later(key)
        else:
            # Fenced: all of this is about to be thrown away. Refused: it is quarantined, and so final.
            self._set_aside(key)

    def _fail(self, key: int, error: Exception) -> None:
        """The store is away: it is tried again. A bug of ours, or rows that make no sense: this execution is set aside,
        and the others go on.
        """
        if isinstance(error, Unavailable):
            logger.warning("execution %s waits for the store: %s", key, error.message)
            self._again_later(key)
            return
        logger.error("execution %s: a turn failed", key, exc_info=error)
        self._forget(key)
        self._committer().set_aside(key, f"{type(error).__name__}: {error}", lambda: self._set_aside(key))

    def _forget(self, key: int) -> None:
        self._library.forget(key)
        self._assignments.forget(key)

    def _set_aside(self, key: int) -> None:
        """It is final now; one more turn turns away whatever came for it, and tells whoever waits for it."""
        self._outside.attend_below()
        self._close(key)
        self.attend(key)

    def _take_back(self, key: int, events: list[m.Event], settled: list[Callable[[], None]]) -> None:
        self._inbox[key] = dict.fromkeys([*events, *self._inbox[key]])
        self._settled[key] = settled + self._settled[key]

    def _again_later(self, key: int) -> None:
        self._close(key)
        self.attend(key, delay_us=self._limiter.when_us(key, self._clock.now_us()))
        self._resting.add(key)

    def _done(self, key: int, settled: list[Callable[[], None]]) -> None:
        if self._limiter.retries(key):
            self._limiter.forget(key, self._clock.now_us())
        self._close(key)
        for callback in settled:
            callback()

    def _close(self, key: int) -> None:
        """The turn has an outcome: another one may begin."""
        self._queue.done(key, self._clock.now_us() if self._observed else None)
        opened = self._open.pop(key, None)
        if opened is not None and opened.quiet:
            for callback in opened.quiet:
                callback()
