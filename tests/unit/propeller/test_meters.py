"""What a propeller counts is what has been committed, once, whichever terms it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.runtime.clock import SystemClock
from libs.telemetry.metrics import Metering
from libs.telemetry.otlp import SdkMetrics
from libs.wire.session import ReportPhase
from libs.workflow.errors import Unavailable
from libs.workflow.phases import ExecutionPhase
from services.propeller.meters import HISTOGRAMS, LOOKED_AT, Meters
from tests.support.graphs import Plan, Step
from tests.support.memory_ledger import MemoryStore
from tests.support.meters import histograms, shown
from tests.support.terms import leading
from tests.support.waiting import until

ONE = Plan((Step("n0"),))


class Counted:
    """Meters, and what whoever collects them sees."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = Meters(Metering(lambda: SdkMetrics("propeller", self.reader)), SystemClock(), (0,))

    def values(self, name: str) -> dict[Any, float]:
        """By the values of its attributes."""
        self.meters.board.look()
        return {tuple(about.values()): value for about, value in shown(self.reader).get(name, ())}

    def timed(self, name: str) -> dict[Any, int]:
        """How many values each series of a histogram has."""
        return {tuple(about.values()): point.count for about, point in histograms(self.reader).get(name, ())}


async def test_what_ends_is_counted_by_how_it_ended(tmp_path: Path) -> None:
    counted = Counted()
    async with leading(tmp_path, meters=counted.meters) as it:
        it.submit(ONE, 1, 2)
        executor = it.connect("e1", cores=8)
        for key, phase in ((1, ReportPhase.SUCCEEDED), (2, ReportPhase.FAILED)):
            id = (await executor.assigned_of(key, "n0")).id
            executor.report(id, ReportPhase.RUNNING, 1)
            executor.report(id, phase, 2)
        executor.report((await executor.assigned_of(1, "sum")).id, ReportPhase.SUCCEEDED)
        await it.phase(1, ExecutionPhase.SUCCEEDED)
        await it.phase(2, ExecutionPhase.FAILED)
        await until(lambda: len(counted.values("airscrew.executions.ended")) == 2, "both ends")
        assert counted.values("airscrew.executions.accepted") == {(): 2}
        assert {phase: n for (phase, _), n in counted.values("airscrew.executions.ended").items()} == {
            "SUCCEEDED": 1,
            "FAILED": 1,
        }
        assert counted.values("airscrew.attempts.ended") == {("SUCCEEDED",): 2, ("FAILED",): 1}
        assert counted.values("airscrew.leader") == {(0,): 1}
        assert counted.values("airscrew.executors.connected") == {(0,): 1}
        assert counted.values("airscrew.slots.capacity")[0, "cpu"] == 8
        assert counted.values("airscrew.slots.used")[0, "cpu"] == 0
        assert counted.values("airscrew.commits")["committed",] >= 2
        assert counted.values("workqueue.depth") == {("turns-0",): 0}
        assert counted.timed("airscrew.execution.duration") == {("SUCCEEDED",): 1, ("FAILED",): 1}
        assert counted.timed("airscrew.node.duration")["FAILED", "user"] == 1
        assert counted.timed("airscrew.attempt.queued") == {(): 2}
        assert counted.timed("airscrew.turn.duration")[()] == counted.values("airscrew.turns")[()]
        assert counted.timed("workqueue.work.duration")["turns-0",] >= 4
        assert set(shown(counted.reader)) >= {metric.name for metric in (*LOOKED_AT, *HISTOGRAMS)} - {
            "airscrew.cache.lookups"
        }
    assert counted.values("airscrew.leader") == {(0,): 0}
    assert counted.values("airscrew.executors.connected") == {}


async def test_totals_outlive_the_term_and_a_turn_that_was_not_committed_counts_for_nothing(tmp_path: Path) -> None:
    counted, store = Counted(), MemoryStore()
    async with leading(tmp_path, store, meters=counted.meters) as it:
        refusals = iter((True, False))

        def away(batch: object) -> None:
            if next(refusals, False):
                raise Unavailable("the database is away")

        it.writer.before_commit = away
        it.submit(ONE, 1)
        executor = it.connect("e1")
        await executor.assigned_of(1, "n0")
        assert counted.values("airscrew.executions.accepted") == {(): 1}
        before = counted.values("airscrew.commits")["committed",]
        assert counted.values("airscrew.commits")["unknown",] == 1
    async with leading(tmp_path, store, meters=counted.meters):
        assert counted.values("airscrew.leader.terms") == {(0,): 2}
        assert counted.values("airscrew.commits")["committed",] >= before
        assert counted.values("airscrew.commits")["unknown",] == 1
        assert counted.values("airscrew.executions.accepted") == {(): 1}


async def test_only_an_executor_that_is_lost_with_what_it_ran_is_counted(tmp_path: Path) -> None:
    counted = Counted()
    async with leading(tmp_path, meters=counted.meters, executor_grace_seconds=1.0) as it:
        idle = it.connect("idle", cores=0)
        it.term.sessions.close(idle.session)
        it.submit(ONE, 1)
        executor = it.connect("e1")
        await executor.assigned_of(1, "n0")
        it.term.sessions.close(executor.session)
        await until(lambda: it.term.sessions.lost == 1, "the loss")
        await until(lambda: counted.values("airscrew.attempts.ended") == {("LOST",): 1}, "the attempt's end")
        assert counted.values("airscrew.executors.lost") == {(): 1}
