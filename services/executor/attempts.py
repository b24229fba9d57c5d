"""All attempts of this executor: what it runs, what it has reported, and what it takes on.

The rules:

* One number, one start. An assignment that comes again gets the same answer again. A number that an earlier life of
  this executor had begun is answered with a failure and not started.
* Slots are taken before anything else happens, and given back when no process is left, before the end is reported: the
  leader may send the next attempt as soon as it knows, and those that it has sent ahead take them at once (`backlog`),
  or are in line for them: these have what the one before them has, when that has ended.
* A final report is on disk before it is sent, and is sent again until it is acknowledged. (That of an echo which is
  answered at once is kept in memory only: see `echo`.)
* What cannot be taken on is answered REJECTED with the reason: no room, a full disk, the executor stops.

Reports go to the session of their shard that is attached, if any. A new session starts with a snapshot of all that is
its shard's, so what was said while there was none is not lost.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from flyteidl.core import tasks_pb2

from libs.rpc.stream import Batcher
from libs.wire.session import (
    Ack,
    Assignment,
    Demand,
    Draining,
    FromExecutor,
    Offer,
    Report,
    ReportPhase,
    Stop,
)
from libs.workflow import errors, options, supported
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from services.executor import outcome
from services.executor.attempt import Attempt, Left, Workbench
from services.executor.backlog import Backlog, Waiting
from services.executor.disk import Disk
from services.executor.echo import EchoAttempt, Echoes
from services.executor.outcome import Outcome
from services.executor.reporting import Reporting
from services.executor.reused import ReusedAttempt, place_in_line
from services.executor.sharing import Sharing
from services.executor.slots import Grant, SlotPool
from services.executor.specs import Specs, unfit
from services.executor.spool import Spool
from services.executor.taskprocess import ProcessAttempt

logger = logging.getLogger(__name__)

# Numbers of attempts that were acknowledged: a leader repeats itself soon or never.
_REMEMBERED: Final = 10_000

# The number of a report about an attempt of which nothing is known any more: above whatever was reported before.
_LAST_SEQ: Final = 1 << 32

_DRAINS: Final = "its executor drains"
_NO_JOURNAL: Final = "the executor's journal cannot be written"
_NO_SLOT_IN_TIME: Final = Outcome(ReportPhase.REJECTED, reason="no slot has become free in time")


Kind: TypeAlias = Callable[[Workbench, Assignment, tasks_pb2.TaskTemplate, Grant, Callable[[Report], None]], Attempt]
"""What makes an attempt of an assignment."""


def _kind_of(template: tasks_pb2.TaskTemplate) -> Kind:
    if template.type == supported.ECHO:
        return EchoAttempt
    return ReusedAttempt if template.config.get(options.REUSE) == "true" else ProcessAttempt


class Attempts:
    """Belongs to one event loop; `group` owns the tasks of the attempts, `kind_of` says how a task is run."""

    def __init__(
        self,
        bench: Workbench,
        slots: SlotPool,
        spool: Spool,
        disk: Disk,
        group: asyncio.TaskGroup,
        kind_of: Callable[[tasks_pb2.TaskTemplate], Kind] = _kind_of,
        trouble: Callable[[], str] = str,
    ) -> None:
        """`trouble` says why nothing can be started for now, for reasons of whatever runs the attempts."""
        self._kind_of = kind_of
        self._trouble = trouble
        self._bench = bench
        self._slots = slots
        self._spool = spool
        self._disk = disk
        self._group = group
        self._running: dict[AttemptId, Attempt] = {}
        self._backlog = Backlog(group, lambda waiting: self._turn_away(waiting, _NO_SLOT_IN_TIME))
        self._reporting = Reporting(
            spool,
            bench.clock,
            group,
            lambda report: self.say(report.shard, report),
            lambda: len(self._backlog),
            lambda ids: bench.journal.end(*ids),
        )
        self.specs = Specs()
        self._outboxes: dict[int, Batcher[FromExecutor]] = {}
        """By shard: the session that is attached."""
        self._sharing = Sharing(slots.capacity, lambda shard, offer: self.say(shard, Offer(offer)))
        self._draining = False
        self.ended: Counter[ReportPhase] = Counter()
        """How many attempts have ended here, or were not taken on, by how."""
        self._changed = asyncio.Event()
        self._echoes = Echoes(bench.settings, bench.clock)
        self._used: OrderedDict[AttemptId, None] = OrderedDict()
        for lost in bench.journal.lost:
            if lost.id not in spool:
                self._remember(lost.id)

    # ------------------------------------------------------------------------------------------- towards the session

    def attach(self, shard: int, outbox: Batcher[FromExecutor]) -> tuple[tuple[Report, ...], Slots]:
        """From now on reports of a shard go into `outbox`. Returns the snapshot of what was before, and the offer."""
        self._outboxes[shard] = outbox
        self.specs.begin(shard)
        self._echoes.forget()
        going_on = [attempt.latest for attempt in self._running.values() if attempt.shard == shard]
        for report in going_on:
            self._reporting.is_known(report.id)
        waiting = [self._accepted(id, shard) for id in self._backlog.of(shard)]
        return (*going_on, *waiting, *self._reporting.snapshot(shard)), self._sharing.join(shard)

    def detach(self, shard: int) -> None:
        """The session is over."""
        del self._outboxes[shard]
        self._sharing.leave(shard)

    def stages(self) -> Counter[str]:
        """How many attempts that are pods have come how far."""
        return Counter(attempt.stage for attempt in self._running.values() if attempt.stage)

    @property
    def running(self) -> int:
        """How many attempts have not ended."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many attempts wait for slots."""
        return len(self._backlog)

    @property
    def draining(self) -> bool:
        return self._draining

    def trouble(self) -> str:
        """Why nothing new can be taken on for now; empty when it can."""
        return self._disk.trouble() or self._spool.trouble or self._trouble()

    def say(self, shard: int, item: FromExecutor) -> None:
        """Sends `item` in the session of a shard, if there is one."""
        outbox = self._outboxes.get(shard)
        if outbox is None:
            return
        try:
            outbox.put(item)
        except errors.ResourceExhausted:
            logger.error("the leader is too slow for our reports; a new session will start with a snapshot")
            outbox.close()

    def send_again(self) -> None:
        """Repeats final reports that have waited too long for their acknowledgement."""
        self._reporting.send_again(self._bench.settings.resend_seconds)

    def offer_again(self, shard: int) -> None:
        """Repeats what a shard may hold here, where several share: one that was missed must not be missed for ever."""
        if (offer := self._sharing.offer(shard)) is not None:
            self.say(shard, Offer(offer))

    def write_again(self) -> None:
        """Tries the disk again if it has refused reports: as long as nothing new is taken on, nobody else would."""
        if self._spool.is_refused:
            self._group.create_task(self._spool.flush(), name="write reports again")

    # ------------------------------------------------------------------------------------------ what the leader says

    def assign(self, shard: int, assignment: Assignment) -> None:
        """Starts the attempt, or says why not. Returns at once."""
        id = assignment.id
        if id in self._running:
            self._reporting.goes_on(self._running[id].latest)
        elif id in self._backlog:
            self._reporting.goes_on(self._accepted(id, shard))
        elif (report := self._spool.find(id)) is not None:
            self._reporting.send(report)
        elif id in self._used:
            self._answer(shard, id, outcome.system("AttemptNumberUsed", "this attempt number was started before"))
        elif (template := self.specs.find(shard, assignment.spec_digest)) is None:
            missing = outcome.system("SpecMissing", "the assignment names a task template that was not sent")
            self._answer(shard, id, missing)
        elif why := unfit(self._bench.settings.task_backend, assignment, template):
            self._answer(shard, id, outcome.of_refusal(errors.InvalidArgument(why)))
        elif refusal := self._refusal():
            self._reject(shard, id, refusal)
        elif (echo := self._echo(assignment, template)) is not None:
            self.ended[echo.phase] += 1
            self._reporting.answered(echo)
        elif (grant := self._slots.take(assignment.resources)) is not None:
            self._start(assignment, template, grant)
        elif self._may_wait(shard, assignment):
            self._backlog.add(assignment, template)
            self._line_up()
        else:
            self._reject(shard, id, f"no free slot: {assignment.resources} wanted, {self._slots.free} free")

    def ask(self, shard: int, demand: Demand) -> None:
        """What waits for slots of this executor at the leader of a shard."""
        self._sharing.ask(shard, demand)

    def stop(self, shard: int, stop: Stop) -> None:
        """Ends the attempt, or says again how it has ended."""
        self._backlog.recall(stop.id)
        if stop.id in self._running:
            self._running[stop.id].stop(outcome.aborted(stop.reason))
        elif self._backlog.remove(stop.id) is not None:
            self._answer(shard, stop.id, outcome.aborted(stop.reason))
        elif (report := self._spool.find(stop.id)) is not None:
            self._reporting.send(report)
        else:
            self._answer(shard, stop.id, outcome.aborted("nothing of this attempt runs here"))

    def acknowledge(self, ack: Ack) -> None:
        """The leader has committed a report."""
        if self._reporting.acknowledge(ack):
            self._remember(ack.id)
            self._changed.set()

    # ----------------------------------------------------------------------------------------------- stopping

    def drain(self) -> None:
        """Nothing new from now on; what waits for slots is handed back."""
        self._draining = True
        for waiting in self._backlog.empty():
            self._turn_away(waiting, outcome.handed_back(_DRAINS))
        for shard in self._outboxes:
            self.say(shard, Draining())

    def drain_within(self, seconds: float) -> None:
        """Nothing new from now on; what still runs when the time is over is handed back. Asked again, the end that is
        nearer counts. Ends only with the process.
        """
        logger.info("draining: what still runs in %g s is handed back", seconds)
        self.drain()
        asyncio.get_running_loop().call_later(seconds, self.hand_back)

    def hand_back(self) -> None:
        """Ends what still runs, to be begun anew elsewhere: it costs nobody a retry."""
        for attempt in self._running.values():
            attempt.stop(outcome.handed_back(_DRAINS))

    def leave(self) -> None:
        """Leaves to the next life of this executor what can go on without it, and hands back the rest."""
        for attempt in self._running.values():
            if not attempt.leave():
                attempt.stop(outcome.handed_back("its executor stops"))

    async def idle(self) -> None:
        """Returns when nothing runs."""
        while self._running:
            await self._next_change()

    async def flushed(self) -> None:
        """Returns when every final report is acknowledged."""
        while len(self._spool):
            await self._next_change()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # ------------------------------------------------------------------------------------------------- one attempt

    def _echo(self, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> Report | None:
        """The answer of an attempt that needs no more than to be answered."""
        return self._echoes.answer(assignment, template) if self._kind_of(template) is EchoAttempt else None

    def _refusal(self) -> str:
        return "the executor is stopping" if self._draining else self.trouble()

    def _start(self, assignment: Assignment, template: tasks_pb2.TaskTemplate, grant: Grant) -> None:
        if not self._bench.journal.begin(assignment.id):
            self._slots.give_back(grant)
            self._reject(assignment.shard, assignment.id, _NO_JOURNAL)
            return
        attempt = self._kind_of(template)(self._bench, assignment, template, grant, self._reporting.goes_on)
        self._enter(attempt)
        if not attempt.begin(self._over):
            self._live(attempt)

    def adopt(self, kind: Kind, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> None:
        """Goes on with an attempt that an earlier life of this executor has begun, whatever slots are free."""
        grant = self._slots.hold(assignment.resources)
        logger.info("going on with attempt %s/%s/%d of an earlier life", *assignment.id)
        attempt = kind(self._bench, assignment, template, grant, self._reporting.goes_on)
        self._bench.journal.begin(attempt.id)
        self._enter(attempt)
        self._live(attempt)

    def is_reported(self, id: AttemptId) -> bool:
        """Whether the end of this attempt is known, and waits to be acknowledged."""
        return id in self._spool

    def _enter(self, attempt: Attempt) -> None:
        self._sharing.take(attempt.shard, attempt.grant.slots)
        self._running[attempt.id] = attempt

    def _live(self, attempt: Attempt) -> None:
        self._group.create_task(self._run(attempt), name="attempt {}/{}/{}".format(*attempt.id))

    def _may_wait(self, shard: int, assignment: Assignment) -> bool:
        if self._backlog.full or not assignment.resources.fits(self._slots.capacity):
            return False
        # Where others wait already, whoever keeps to his offer must not be turned away because of them.
        return len(self._backlog) > 0 or not self._sharing.knows_to_share(shard)

    def _turn_away(self, waiting: Waiting, end: Outcome) -> None:
        self._answer(waiting.assignment.shard, waiting.assignment.id, end)

    def _start_waiting(self) -> None:
        """Gives what is free to those who wait for it."""
        while (first := self._backlog.first()) is not None:
            grant = self._slots.take(first.assignment.resources)
            if grant is None:
                self._line_up()
                return
            self._backlog.remove(first.assignment.id)
            self._start(first.assignment, first.template, grant)

    def _line_up(self) -> None:
        """Gives processes their next attempts before they have ended the last."""
        while (first := self._backlog.first()) is not None:
            if self._kind_of(first.template) is not ReusedAttempt:
                return
            place = place_in_line(self._bench, first.assignment, first.template)
            if place is None:
                return
            kept, _ = place
            assert kept.grant is not None
            assignment, say = first.assignment, self._reporting.goes_on
            if not self._bench.journal.begin(assignment.id):
                return
            self._slots.share(kept.grant)
            attempt = ReusedAttempt(self._bench, assignment, first.template, kept.grant, say)
            self._backlog.line_up(attempt.id, kept.recall)
            attempt.follow(place, self._takes_over, self._over, functools.partial(self._comes_back, first))

    def _takes_over(self, attempt: ReusedAttempt) -> None:
        """The attempts before it in its line are over: its turn has come."""
        self._backlog.begun(attempt.id)
        self._enter(attempt)

    def _comes_back(self, waiting: Waiting, attempt: ReusedAttempt) -> None:
        """It has not begun, and waits as before."""
        if self._running.pop(attempt.id, None) is not None:
            self._sharing.give_back(attempt.shard, attempt.grant.slots)
            self._reporting.is_known(attempt.id)
            asyncio.get_running_loop().call_soon(self._start_waiting)  # what it held is free
        self._slots.give_back(attempt.grant)
        self._bench.journal.end(attempt.id)
        self._backlog.come_back(waiting)

    def _over(self, attempt: Attempt, end: Outcome | None) -> None:
        """An attempt that has needed no task of asyncio's until now."""
        if end is None:
            self._live(attempt)
            return
        self._end(attempt, end)
        if attempt.leaves_files:
            self._group.create_task(attempt.clean_up(), name="clean up")
        self._changed.set()

    def _end(self, attempt: Attempt, end: Outcome) -> None:
        self._slots.give_back(attempt.grant)
        self._sharing.give_back(attempt.shard, attempt.grant.slots)
        self._start_waiting()
        report = attempt.final(end)
        self.ended[report.phase] += 1
        level = logging.DEBUG if report.phase is ReportPhase.SUCCEEDED else logging.INFO
        if logger.isEnabledFor(level):
            with attempt.logged():
                logger.log(level, "attempt ended: %s", report.phase.name, extra={"reason": report.reason})
        self._reporting.ended(report)
        del self._running[attempt.id]

    async def _run(self, attempt: Attempt) -> None:
        with attempt.logged():
            try:
                end = await self._outcome(attempt)
            except Left:
                del self._running[attempt.id]
                self._changed.set()
                return
            self._end(attempt, end)
            await attempt.clean_up()
        self._changed.set()

    async def _outcome(self, attempt: Attempt) -> Outcome:
        try:
            return await attempt.run()
        except Left:
            raise
        except Exception as error:
            # A bug of ours must neither keep the slots nor hand them on while something uses them.
            logger.exception("the attempt failed inside the executor")
            await attempt.abandon()
            return outcome.system("ExecutorError", f"{type(error).__name__}: {error}")

    # ----------------------------------------------------------------------------------------------------- reports

    def _reject(self, shard: int, id: AttemptId, reason: str) -> None:
        logger.info("assignment rejected: %s", reason, extra={"node": id.node, "attempt": id.attempt})
        self._answer(shard, id, Outcome(ReportPhase.REJECTED, reason=reason))

    def _answer(self, shard: int, id: AttemptId, end: Outcome) -> None:
        """The end of an attempt that was not started by this assignment, kept like any other end."""
        self.ended[end.phase] += 1
        report = Report(id, _LAST_SEQ, end.phase, self._bench.clock.now_us(), shard=shard)
        report = replace(report, error=end.error, recoverable=end.recoverable, reason=end.reason)
        self._reporting.ended(report)

    def _accepted(self, id: AttemptId, shard: int) -> Report:
        """What is told of one that waits for slots."""
        return Report(id, 1, ReportPhase.INITIALIZING, self._bench.clock.now_us(), shard=shard)

    def _remember(self, id: AttemptId) -> None:
        self._used[id] = None
        if len(self._used) > _REMEMBERED:
            self._used.popitem(last=False)
