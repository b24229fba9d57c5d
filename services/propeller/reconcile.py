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
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Final

from libs.runtime.clock import Clock
from libs.workerpool import WorkerPool
from libs.workflow.errors import AirscrewError, KeyTaken, Unavailable
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution, Stepper, Turn
from libs.workflow.machine import messages as m
from libs.workqueue import DelayingQueue, Item, ItemExponential, WorkQueue
from libs.workqueue.observer import Observer
from services.propeller.arrivals import Arrivals
from services.propeller.assignments import Assignments
from services.propeller.committer import Committer
from services.propeller.consequences import Consequences
from services.propeller.library import Library
from services.propeller.outside import Outside
from services.propeller.pending import Pending
from services.propeller.placement import Placement
from services.propeller.placing import Placing
from services.propeller.spans import Spans, child_traceparent

logger = logging.getLogger(__name__)

RETRY_BASE_US = 100_000
RETRY_CAP_US = 5_000_000
"""How long an execution waits after a turn that could not be committed or loaded."""

IN_A_ROW: Final = 32
"""So many keys have their turns before the event loop goes round, which costs as much as one of them: a millisecond or
two, in which nobody else has the loop."""
ROW_US: Final = 5_000
"""No further turn begins in a row that has taken so long: large executions have turns of many milliseconds."""


@dataclass(slots=True)
class Opened(Pending):
    """A turn between its step and its commit."""

    execution: Execution
    events: list[m.Event]
    turn: Turn
    settled: Sequence[Callable[[], None]]
    """Whom to tell that what they wanted is dealt with."""
    quiet: Sequence[Callable[[], None]] = ()
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
        self._stepper = Stepper()
        self._placing = Placing(placement, assignments, self._stepper)
        self._consequences = Consequences(outside, placement, spans, clock, self.attend)
        self._arrivals = Arrivals(library, pool, clock, self._begin, self._fail, self._go_round, lambda: self._coming)
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
        self._coming = False
        """Whether the event loop is about to come round with turns."""
        self._context = copy_context()
        """What turns are given in: the leader's surroundings, not those of whoever brought a key."""
        self.delayed = asyncio.Event()
        """Set when a key was delayed, so that whoever keeps the time looks again at `next_due_us`."""
        self.turns = 0

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
            self._go_round()

    def attend_all(self, items: Iterable[Item[int]]) -> None:
        """These keys shall have turns now; later, where they wait for another try of the store."""
        now_us = self._clock.now_us()
        for item in items:
            if item.key not in self._resting:
                self._queue.add(item, now_us)
        self._go_round()

    def advance(self) -> None:
        """Gives turns to the keys that are due, unless no turn is begun any more."""
        if self._queue.next_due_us() is not None:
            self._queue.advance(self._clock.now_us())
        self._go_round()

    def _go_round(self) -> None:
        """Lets the event loop come round with turns, if there are keys: not at once, but the time after, so that what
        else has come by then shares reads and commits.

        Turns never wait, so they need no worker: those are for executions on their way into memory, which do.
        """
        if not self._coming and self.busy and not self._pool.stopped:
            self._coming = True
            self._soon(partial(self._soon, self._come_round))

    def _soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback, context=self._context)

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
            opened.quiet = [*opened.quiet, callback]
        else:
            callback()

    def note_batch(self, start_us: int, end_us: int, executions: int) -> None:
        """The committer tells when it wrote the batch whose turns follow."""
        self._consequences.last_commit = (start_us, end_us)

    # ------------------------------------------------------------------------------------------------------ turns

    def _come_round(self) -> None:
        """Gives turns as long as there are keys; between two rows of them, others have the event loop."""
        try:
            if not self._pool.stopped:
                self._give_turns()
        finally:
            self._coming = self.busy and not self._pool.stopped
            if self._coming:
                self._soon(self._come_round)

    def _give_turns(self) -> None:
        """By turns, one execution that has been read begins, and the next key has its turn or is read."""
        arrivals, queue, clock = self._arrivals, self._queue, self._clock
        now_us = clock.now_us()
        until_us = now_us + ROW_US
        for _ in range(IN_A_ROW):
            if now_us > until_us:
                return
            begun = len(arrivals) > 0 and arrivals.begin_next(clock.now_us())
            now_us = clock.now_us()
            handed = None if arrivals.full else queue.get(now_us)
            if handed is not None:
                key = handed.item.key
                self._resting.discard(key)
                execution = self._library.get(key)
                if execution is None:
                    arrivals.ask(key)
                    continue
                try:
                    self._turn(key, execution, now_us)
                except Exception as error:
                    self._fail(key, error)
            elif not begun:
                return

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
            self._placing.hold(execution)
            self._outside.adopt(execution)
        self._turn(key, execution, now_us)

    def _turn(self, key: int, execution: Execution, now_us: int) -> None:
        events = list(self._inbox.pop(key, ()))
        settled = self._settled.pop(key, ())
        try:
            turn = self._stepper.step(execution, events, now_us)
            if turn.commands:
                self._placing.place(execution, turn, now_us)
        except Exception:
            self._take_back(key, events, settled)
            raise
        self.turns += 1
        changes = turn.changes
        for child in changes.children:
            child.traceparent = child_traceparent(execution.state, child.parent_node_id)
        self._consequences.ask(execution, turn)
        rows = changes.rows
        opened = Opened(changes, now_us, rows, execution, events, turn, settled)
        if rows:
            self._open[key] = opened
            self._committer().submit(opened)
        else:
            self.committed([opened])

    def _turn_away(self, key: int) -> None:
        """There is no such execution any more: whoever works for it must stop, and its reports are done with."""
        for event in self._inbox.pop(key, ()):
            if isinstance(event, m.Placed):
                self._placement.release(AttemptId(key, event.node_id, event.attempt))
            elif isinstance(event, (m.Accepted, m.Started)):
                self._outside.disown(AttemptId(key, event.node_id, event.attempt), event.executor)
            elif isinstance(event, m.REPORTS):
                self._outside.acknowledge(AttemptId(key, event.node_id, event.attempt), event.executor, event.seq)
        self._done(key, self._settled.pop(key, ()))
        self.fill()
        self._go_round()

    # ----------------------------------------------------------------------------------------------- after commit

    def committed(self, batch: Sequence[Opened]) -> None:
        """These turns are durable: what they wished for follows."""
        self._outside.changed([opened for opened in batch if opened.rows])
        for opened in batch:
            execution = opened.execution
            self._consequences.follow(execution, opened)
            key = execution.state.key
            self._done(key, opened.settled)
            if execution.state.phase.terminal:
                self._forget(key)
            else:
                self._go_on(key, execution)
        self.fill()
        self._go_round()

    def _go_on(self, key: int, execution: Execution) -> None:
        """It has another turn, if it is not to wait for something else."""
        if execution.ready:
            self.attend(key, execution.state.id.project, execution.settings.priority)
        if execution.state.next_wake_at_us is not None:
            self.attend(key, delay_us=max(1, execution.state.next_wake_at_us - self._clock.now_us()))

    def fill(self) -> None:
        """Gives free slots to attempts that wait for one."""
        if not self._placement.pending:
            return
        for identity, place in self._placement.fill(self._clock.now_us()):
            execution = self._library.get(identity.execution)
            if execution is None:
                self._placement.release(identity)
            else:
                self.tell(identity.execution, self._placing.placed(execution, identity, place))

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

    def _take_back(self, key: int, events: list[m.Event], settled: Iterable[Callable[[], None]]) -> None:
        self._inbox[key] = dict.fromkeys([*events, *self._inbox[key]])
        self._settled[key] = [*settled, *self._settled[key]]

    def _again_later(self, key: int) -> None:
        self._close(key)
        self.attend(key, delay_us=self._limiter.when_us(key, self._clock.now_us()))
        self._resting.add(key)

    def _done(self, key: int, settled: Iterable[Callable[[], None]]) -> None:
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
