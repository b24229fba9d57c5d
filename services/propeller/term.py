"""A term: everything that a leader has while it leads one shard. It is thrown away as a whole when leadership ends.

What flows in: keys from the queue service, reports from executors, timers, and what the sweep finds. Each becomes a key
in the reconciler's local queue, and from there on there is one way only:

    feed, sweep, timers ──key──┐                          ┌─▶ sessions: dispatch, stop, acknowledge ──▶ executors
                               ▼                          │
    sessions ──report──▶ reconciler: turn ──▶ committer: commit ─▶ ends: hints ──▶ watchers
                          │        ▲                      │
                 placement: slots  library: executions    ├─▶ placement: free slots go to who waits
                                   ▲                      └─▶ children, cache: whoever waits for this is told
                 blobs, dynamics, cache, children: what the machine asks, and their answers

A new term begins by asking for everything that is live, what is due first. It reads nothing before its claim (promise
P2).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from libs.blob import BlobStore
from libs.clients.queue import Leased, WorkFeed
from libs.clients.streams import Counters
from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock, SteadyClock
from libs.workerpool import WorkerPool
from libs.workflow.errors import FailedPrecondition, Fenced, Unavailable
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from libs.workflow.quantities import Slots, sum_of
from libs.workqueue import Item
from services.propeller import story
from services.propeller.assignments import Assignments
from services.propeller.blobs import Blobs
from services.propeller.cache import Cache
from services.propeller.children import Children
from services.propeller.committer import Committer, Pending
from services.propeller.demands import Demands
from services.propeller.dynamics import Dynamics
from services.propeller.ends import Ends
from services.propeller.garbage.housekeeping import Housekeeping
from services.propeller.graphs import Graphs
from services.propeller.levels import Levels, Monitor
from services.propeller.library import Library
from services.propeller.meters import Look, Meters
from services.propeller.outside import Question
from services.propeller.placement import Placement
from services.propeller.reconcile import Reconciler
from services.propeller.sessions import PATIENT, Sessions
from services.propeller.settings import PropellerSettings
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.waits import Waits

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 10_000
RETRY_LEASE_US = 1_000_000
"""How long the queue keeps keys back that were handed back because the store is away."""
BELOW_SECONDS = 0.1
"""How long descendants that are to be aborted gather after a look for them: every failure of an execution asks for one,
and each look finds all that wants a turn.
"""
PAUSE_KNOWN_SECONDS = 1.0
"""How long a new leader waits to hear from the queue service whether new executions are held back. What has begun does
not wait, and if the service is away nobody holds anything back.
"""
PAGE = 1_000
"""Live executions asked for at a time when taking over."""


class _Over(Exception):
    """The term has ended: cancels its tasks."""


class Term:
    """The leadership of one shard in one epoch."""

    def __init__(
        self,
        *,
        shard: int,
        epoch: int,
        settings: PropellerSettings,
        store: LeaderStore,
        blob: BlobStore,
        feed: Callable[[int, int], WorkFeed | None],
        ends: Ends,
        clock: Clock,
        spans: Spans,
        leading: Callable[[], bool],
        levels: Levels | None = None,
        meters: Meters | None = None,
        housekeeping: Housekeeping | None = None,
    ) -> None:
        """`feed` opens the stream of keys of a shard in an epoch, or gives None where there is no queue service and the
        sweep finds new work. `leading` tells whether the lease of leadership still holds, by the monotonic clock.
        `levels` and `meters` are kept where somebody collects metrics, and garbage is collected where there is
        `housekeeping`.
        """
        self.epoch = epoch
        self.shard = shard
        self._settings = settings
        self._store = store
        self._feed = feed
        self._work: WorkFeed | None = None
        """The stream of keys that is open."""
        self._ends = ends
        # What waits here for a moment must not wait for as long as the machine's clock is set back.
        clock = self._clock = SteadyClock(clock)
        self._group: asyncio.TaskGroup | None = None
        self._pool = WorkerPool(settings.workers, name="turn")
        self.placement = Placement(settings.weights(), settings.limits(shard), self._task_of)
        default_slots = Slots(settings.default_cpu_millis, settings.default_memory_bytes)
        graphs = Graphs(store, blob, default_slots)
        self.library = Library(store, self.shard, graphs, lambda state: self._children.ended(state))
        assignments = Assignments(blob.root, settings.task_backend)
        self._meters = meters
        self._queue_metrics = meters.observer(self.shard) if meters else None
        self.reconciler = Reconciler(
            self.library,
            self.placement,
            lambda: self.committer,
            assignments,
            self,
            self._pool,
            clock,
            spans,
            self._queue_metrics,
        )
        self.committer = Committer(
            store,
            self.shard,
            epoch,
            clock,
            max_rows=settings.commit_rows,
            busy=lambda: self.reconciler.busy,
            leading=leading,
            on_batch=self._note_batch,
            committed=self.reconciler.committed,
            uncommitted=self.reconciler.uncommitted,
        )
        self.sessions = Sessions(
            self.library,
            self.placement,
            assignments,
            clock,
            settings.executor_grace_seconds,
            self.reconciler.tell,
            self.reconciler.tell_all,
            self.reconciler.fill,
            self.reconciler.when_quiet,
        )
        tell = self.reconciler.tell
        self._waits = Waits(self.placement, clock, tell)
        self._demands = Demands(self.placement, self.sessions, clock) if settings.shards > 1 else None
        self._blobs = Blobs(blob, assignments, tell, self._spawn)
        self._dynamics = Dynamics(store, blob, graphs, assignments, tell, self._spawn, settings.task_backend)
        self._children = Children(store, self.library, tell, self._spawn)
        self._cache = Cache(store, self.library, clock, tell, self._spawn)
        self._monitor = Monitor(levels, store, self.library, self.shard) if levels else None
        self.collector = housekeeping.collector(self.shard, epoch, leading) if housekeeping else None
        self._below = asyncio.Event()
        """Set when something was passed on to descendants in a commit."""
        self.work_counters = Counters()
        """Messages exchanged with the queue service."""
        self._cold: set[int] = set()
        """Executions that were live when the term began and have not had their first turn."""
        self._all_asked = False
        self._began = clock.monotonic()
        self.began_us = clock.now_us()
        self.synced_us = 0
        """When every execution that was live when the term began had had its first turn; 0 before."""

    @property
    def synced(self) -> bool:
        return self.synced_us > 0

    @property
    def cold(self) -> int:
        """How many executions that were live when the term began have not had their first turn, as far as is known."""
        return len(self._cold)

    async def lead(self, lost: asyncio.Event, stopping: asyncio.Event) -> None:
        """Leads until leadership is `lost`, or `stopping` is set and the turns under way have ended."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                if self._meters is not None:
                    self._meters.begin(self.shard, self._look)
                for name, work in (
                    ("commit", self.committer.run()),
                    ("timers", self._keep_time()),
                    ("sweep", self._sweep()),
                    ("below", self._attend_what_is_below()),
                    ("cache", self._cache.ask_again()),
                    ("silence", self.sessions.watch()),
                    ("waits", self._waits.watch()),
                    ("take-over", self._take_over()),
                    ("feed", self._take_work()),
                ):
                    group.create_task(work, name=f"{name}-{self.shard}")
                if self._demands is not None:
                    group.create_task(self._demands.watch(), name=f"demands-{self.shard}")
                if self._monitor is not None:
                    group.create_task(self._monitor.watch(), name=f"levels-{self.shard}")
                if self.collector is not None:
                    group.create_task(self.collector.work(), name=f"collector-{self.shard}")
                try:
                    await together.first_to_end(lost=lost.wait(), stopping=stopping.wait())
                    if not lost.is_set():
                        await self._finish()
                finally:
                    self._group = None
                raise _Over
        except* _Over:
            logger.info("epoch %d of shard %d is over", self.epoch, self.shard)
        except* Fenced as fenced:
            logger.warning("epoch %d of shard %d is over: %s", self.epoch, self.shard, fenced.exceptions[0])
        finally:
            if self._meters is not None:
                self._meters.end(self.shard)
            await self._pool.cancel()
            self.sessions.end()

    async def _finish(self) -> None:
        """Lets turns under way be committed, within the grace; nothing new is begun."""
        try:
            async with asyncio.timeout(self._settings.stop_grace_seconds):
                await self._pool.stop()
                await self.committer.drained()
        except TimeoutError:
            logger.warning("turns under way are left to the next leader")

    # --------------------------------------------------------------------------------------- what comes by itself

    async def _take_over(self) -> None:
        """Asks for all that is live, what is due first; for what is new only if nobody holds that back."""
        due = await self._due_at_last(new=False)
        self._warm(due, 0)
        if self._work is not None:
            await together.within(PAUSE_KNOWN_SECONDS, self._work.informed.wait())
        new = not self._paused()
        if new:
            begun, due = due, await self._due_at_last(new=True)
            self._warm(due - begun, 0)
        after = 0
        while keys := await self._at_last(partial(self._store.live, self.shard, after, PAGE, new=new)):
            self._warm((key for key in keys if key not in due), PATIENT)
            after = keys[-1]
        self._all_asked = True
        self._note_synced()

    async def _due_at_last(self, *, new: bool) -> frozenset[int]:
        now_us = self._clock.now_us()
        return frozenset(await self._at_last(partial(self._store.due, self.shard, now_us, SWEEP_LIMIT, new=new)))

    async def _at_last(self, read: Callable[[], Awaitable[list[int]]]) -> list[int]:
        """What the store answers, however long it is away."""
        backoff = Backoff(0.1, 2.0)
        while True:
            try:
                return await read()
            except Unavailable as error:
                logger.warning("taking over waits for the store: %s", error.message)
                await asyncio.sleep(backoff.next())

    def _paused(self) -> bool:
        """Whether somebody wants nothing new to begin."""
        return self._work is not None and self._work.paused

    def _warm(self, keys: Iterable[int], priority: int) -> None:
        items = [Item(key, priority=priority) for key in keys]
        for item in items:
            self._cold.add(item.key)
            self.reconciler.when_settled(item.key, partial(self._warmed, item.key))
        self.reconciler.attend_all(items)

    def _warmed(self, key: int) -> None:
        self._cold.discard(key)
        self._note_synced()

    def _note_synced(self) -> None:
        if self._all_asked and not self._cold and not self.synced:
            self.synced_us = self._clock.now_us()
            took = self._clock.monotonic() - self._began
            logger.info("epoch %d: all %d executions are warm after %.2f s", self.epoch, len(self.library), took)
            self.placement.all_known()
            self.reconciler.fill()

    async def _sweep(self) -> None:
        """The safety net: finds what no hint told."""
        while True:
            await asyncio.sleep(self._settings.sweep_seconds)
            try:
                await self._attend_what_is_due()
            except Unavailable as error:
                logger.warning("the sweep waits for the store: %s", error.message)

    async def _attend_what_is_below(self) -> None:
        """Finds descendants that are to be aborted as the sweep finds them, but at once: one look for many."""
        backoff = Backoff(0.1, 2.0)
        while True:
            await self._below.wait()
            self._below.clear()
            pause = BELOW_SECONDS
            try:
                await self._attend_what_is_due()
                backoff.reset()
            except Unavailable as error:
                logger.warning("descendants wait for the store: %s", error.message)
                self._below.set()
                pause = backoff.next()
            await asyncio.sleep(pause)

    async def _attend_what_is_due(self) -> None:
        keys = await self._store.due(self.shard, self._clock.now_us(), SWEEP_LIMIT, new=not self._paused())
        await self._read_intents([key for key in keys if self.library.get(key) is not None])
        self.reconciler.attend_all([Item(key) for key in keys])

    async def _keep_time(self) -> None:
        """Gives delayed keys their turn when it is time."""
        delayed = self.reconciler.delayed
        while True:
            delayed.clear()
            due_us = self.reconciler.next_due_us()
            wait = None if due_us is None else max(0, due_us - self._clock.now_us()) / 1e6
            try:
                async with asyncio.timeout(wait):
                    await delayed.wait()
            except TimeoutError:
                self.reconciler.advance()

    async def _take_work(self) -> None:
        """Takes keys from the queue service and gives them turns."""
        feed = self._work = self._feed(self.shard, self.epoch)
        if feed is None:
            return
        self.work_counters = feed.counters
        feed.hand_over(partial(self._attend_what_is_new, feed))
        try:
            async with feed:
                async for leases in feed:
                    await self._attend_leases(feed, leases)
        except FailedPrecondition as error:
            raise Fenced(error.message) from error

    def _attend_what_is_new(self, feed: WorkFeed, leases: Sequence[Leased]) -> Sequence[Leased]:
        """Attends those of which nothing has to be read first, and returns the others."""
        others = [leased for leased in leases if leased.key.wants_intent]
        self._attend(feed, [leased for leased in leases if not leased.key.wants_intent] if others else leases)
        return others

    async def _attend_leases(self, feed: WorkFeed, leases: Sequence[Leased]) -> None:
        """Attends those of which it has to be read first what is wanted of them."""
        try:
            await self._read_intents([leased.key.id for leased in leases])
        except Unavailable as error:
            logger.warning("%d keys go back to the queue: %s", len(leases), error.message)
            for leased in leases:
                feed.retry(leased, RETRY_LEASE_US)
            return
        self._attend(feed, leases)

    def _attend(self, feed: WorkFeed, leases: Sequence[Leased]) -> None:
        for leased in leases:
            self.reconciler.when_settled(leased.key.id, partial(feed.done, leased))
        self.reconciler.attend_all([Item(leased.key.id, leased.key.lane, leased.key.priority) for leased in leases])

    async def _read_intents(self, keys: list[int]) -> None:
        """One read for all: what `admin` wants of executions that are in memory already."""
        if keys:
            for key, intent in (await self._store.intents(keys)).items():
                self.reconciler.tell(key, m.IntentRead(intent))

    # ------------------------------------------------------------------------- what follows from a committed turn

    def adopt(self, execution: Execution) -> None:
        self.sessions.adopt(execution)
        self._waits.adopt(execution)

    def dispatch(self, execution: Execution, node_id: str, attempt: int) -> None:
        self.sessions.dispatch(execution, node_id, attempt)

    def stop(self, identity: AttemptId, executor: str, reason: str) -> None:
        self.sessions.stop(identity, executor, reason)

    def disown(self, identity: AttemptId, executor: str) -> None:
        self.sessions.disown(identity, executor)

    def acknowledge(self, identity: AttemptId, executor: str, seq: int) -> None:
        self.sessions.acknowledge(identity, executor, seq)

    def changed(self, turns: Sequence[Pending]) -> None:
        story.tell(turn.changes for turn in turns)
        if self._meters is not None:
            for turn in turns:
                self._meters.turn(turn.changes, turn.started_us)
        self._ends.publish((turn.changes.execution.key, turn.changes.execution.phase) for turn in turns)
        for turn in turns:
            if turn.changes.released:
                self._cache.released(turn.changes.released)

    def ask(self, execution: Execution, command: Question) -> None:
        if isinstance(command, m.BuildGraph):
            self._dynamics.carry_out(execution, command)
        else:
            self._blobs.carry_out(execution, command)

    def look_up_cache(self, execution: Execution, command: m.LookUpCache) -> None:
        self._cache.look_up(execution.state.key, command)

    def look_up_child(self, execution: Execution, command: m.LookUpChild) -> None:
        self._children.look_up(execution.state.key, command)

    def attend_below(self) -> None:
        self._below.set()

    def ended(self, execution: Execution) -> None:
        self._children.ended(execution.state)

    def _task_of(self, attempt: AttemptId) -> bytes | None:
        """What identifies the task of an attempt."""
        execution = self.library.get(attempt.execution)
        node = execution.attempt(attempt.node, attempt.attempt) if execution else None
        return None if node is None or node.spec.task is None else node.spec.task.digest

    def _note_batch(self, start_us: int, end_us: int, executions: int) -> None:
        self.reconciler.note_batch(start_us, end_us, executions)
        if self._meters is not None:
            self._meters.commit(start_us, end_us)

    def _look(self) -> Look:
        committer, rooms = self.committer, self.placement.rooms.all()
        return Look(
            epoch=self.epoch,
            cold=self.cold,
            turns=self.reconciler.turns,
            commits={
                "committed": committer.commits,
                "fenced": committer.fenced,
                "refused": committer.refused,
                "unknown": committer.unknown,
            },
            rows=committer.rows,
            pending=self.placement.pending,
            connected=len(self.sessions.connected()),
            closed=sum(not room.open for room in rooms),
            lost=self.sessions.lost,
            capacity=sum_of(room.capacity for room in rooms),
            used=sum_of(room.taken for room in rooms),
            workers=self._pool.size,
            free_workers=self._pool.size - max(self._pool.running, self.reconciler.arriving),
            queue=self._queue_metrics.at(self._clock.now_us()) if self._queue_metrics else None,
        )

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Starts what ends with the term; does nothing when it is ending."""
        if self._group is not None:
            try:
                self._group.create_task(work, name=name)
                return
            except RuntimeError as error:
                logger.debug("%s is not started: %s", name, error)
        work.close()
