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

A new term begins with a take-over. It reads nothing before its claim (promise P2).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from libs.blob import BlobStore
from libs.clients.queue import WorkFeed
from libs.runtime import together
from libs.runtime.clock import Clock, SteadyClock
from libs.workerpool import WorkerPool
from libs.workflow.errors import Fenced
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from libs.workflow.quantities import Slots, sum_of
from services.propeller import story
from services.propeller.assignments import Assignments
from services.propeller.blobs import Blobs
from services.propeller.cache import Cache
from services.propeller.children import Children
from services.propeller.committer import Committer
from services.propeller.demands import Demands
from services.propeller.dynamics import Dynamics
from services.propeller.ends import Ends
from services.propeller.garbage.housekeeping import Housekeeping
from services.propeller.graphs import Graphs
from services.propeller.levels import Levels, Monitor
from services.propeller.library import Library
from services.propeller.meters import Look, Meters
from services.propeller.outside import Question
from services.propeller.pending import Pending
from services.propeller.placement import Placement
from services.propeller.reconcile import Reconciler
from services.propeller.sessions import Sessions
from services.propeller.settings import PropellerSettings
from services.propeller.sources import Sources
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.takeover import TakeOver
from services.propeller.waits import Waits

logger = logging.getLogger(__name__)


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
        self._ends = ends
        # What waits here for a moment must not wait for as long as the machine's clock is set back.
        clock = self._clock = SteadyClock(clock)
        self._group: asyncio.TaskGroup | None = None
        self._pool = WorkerPool(settings.workers, name="read")
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
        self.sources = Sources(shard, epoch, store, self.library, self.reconciler, feed, clock, settings.sweep_seconds)
        self.take_over = TakeOver(store, shard, self.reconciler, self.sources, clock, self._all_warm)
        self._monitor = Monitor(levels, store, self.library, self.shard) if levels else None
        self.collector = housekeeping.collector(self.shard, epoch, leading) if housekeeping else None

    async def lead(self, lost: asyncio.Event, stopping: asyncio.Event) -> None:
        """Leads until leadership is `lost`, or `stopping` is set and the turns under way have ended."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                if self._meters is not None:
                    self._meters.begin(self.shard, self._look)
                for name, work in (
                    ("commit", self.committer.run()),
                    ("timers", self.sources.keep_time()),
                    ("sweep", self.sources.sweep()),
                    ("below", self.sources.attend_what_is_below()),
                    ("cache", self._cache.ask_again()),
                    ("silence", self.sessions.watch()),
                    ("waits", self._waits.watch()),
                    ("take-over", self.take_over.run()),
                    ("feed", self.sources.take_work()),
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
        self.sources.attend_below()

    def ended(self, execution: Execution) -> None:
        self._children.ended(execution.state)

    def _task_of(self, attempt: AttemptId) -> bytes | None:
        """What identifies the task of an attempt."""
        execution = self.library.get(attempt.execution)
        node = execution.attempt(attempt.node, attempt.attempt) if execution else None
        return None if node is None or node.spec.task is None else node.spec.task.digest

    def _all_warm(self, seconds: float) -> None:
        """Everything that was placed before is known: limits can be told."""
        logger.info("epoch %d: all %d executions are warm after %.2f s", self.epoch, len(self.library), seconds)
        self.placement.all_known()
        self.reconciler.fill()

    def _note_batch(self, start_us: int, end_us: int, executions: int) -> None:
        self.reconciler.note_batch(start_us, end_us, executions)
        if self._meters is not None:
            self._meters.commit(start_us, end_us)

    def _look(self) -> Look:
        committer, rooms = self.committer, self.placement.rooms.all()
        return Look(
            epoch=self.epoch,
            cold=self.take_over.cold,
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
