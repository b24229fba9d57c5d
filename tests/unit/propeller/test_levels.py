"""What a leader tells of how much there is: always of now, and zero where nothing is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.telemetry.metrics import Metering
from libs.telemetry.otlp import SdkMetrics
from libs.wire.session import ReportPhase
from services.propeller import levels as monitored
from services.propeller.levels import Levels
from tests.support.graphs import Plan, Step, state_of
from tests.support.meters import shown
from tests.support.terms import leading
from tests.support.waiting import until

ONE = Plan((Step("n0"),))
ABOUT = {"airscrew.shard": 0, "flyte.project": state_of(ONE).id.project, "flyte.domain": state_of(ONE).id.domain}
LIVE, WORKFLOWS, NODES, TASKS = (
    "airscrew.executions.live",
    "airscrew.workflows.active",
    "airscrew.nodes.active",
    "airscrew.tasks.active",
)


class Watched:
    """Levels, and what whoever collects them sees."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.levels = Levels(0)
        metering = Metering(lambda: SdkMetrics("propeller", self.reader))
        monitored.show(metering, [self.levels])

    @property
    def executions(self) -> Mapping[str, int]:
        """How many are live, by phase."""
        found = shown(self.reader).get(LIVE, [])
        assert all({**ABOUT, "flyte.execution.phase": about["flyte.execution.phase"]} == about for about, _ in found)
        return {str(about["flyte.execution.phase"]): count for about, count in found}

    @property
    def active(self) -> tuple[int, ...]:
        """Executions, nodes and attempts; nothing where nothing is told."""
        found = shown(self.reader)
        assert all(
            about == {"airscrew.shard": 0} for name in (WORKFLOWS, NODES, TASKS) for about, _ in found.get(name, ())
        )
        return tuple(count for name in (WORKFLOWS, NODES, TASKS) for _, count in found.get(name, ()))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(monitored, "LOOK_SECONDS", 0.01)
    return Watched()


async def test_levels_follow_executions_to_their_end_and_what_is_empty_is_told_as_zero(
    tmp_path: Path, watched: Watched
) -> None:
    async with leading(tmp_path, levels=watched.levels) as it:
        it.submit(ONE, 1, 2)
        await until(lambda: watched.executions.get("RUNNING") == 2, "two that run")
        await until(lambda: watched.active == (2, 2, 2), "their nodes and attempts")
        executor = it.connect("e1")
        executor.report((await executor.assigned_of(1, "n0")).id, ReportPhase.SUCCEEDED)
        executor.report((await executor.assigned_of(1, "sum")).id, ReportPhase.SUCCEEDED)
        await until(lambda: watched.executions.get("RUNNING") == 1 and watched.active == (1, 1, 1), "one that runs")
        executor.report((await executor.assigned_of(2, "n0")).id, ReportPhase.FAILED)
        await until(lambda: watched.active == (0, 0, 0), "nothing to work at")
        await until(lambda: watched.executions.get("RUNNING") == 0, "nothing that runs")
        assert not any(watched.executions.values())


async def test_a_node_around_others_is_a_node_and_only_tasks_have_attempts(tmp_path: Path, watched: Watched) -> None:
    async with leading(tmp_path, levels=watched.levels) as it:
        it.submit(Plan((Step("n0", inside=ONE), Step("n1"))), 1)
        await until(lambda: watched.active == (1, 3, 2), "n0, its own n0, and n1")


async def test_what_nobody_has_attended_to_is_counted_too(tmp_path: Path, watched: Watched) -> None:
    async with leading(tmp_path, levels=watched.levels) as it:
        it.store.submit(state_of(ONE, key=1))  # nobody hints at it
        await until(lambda: watched.executions == {"QUEUED": 1}, "one that waits")
        assert watched.active == (0, 0, 0)


async def test_while_the_store_is_away_nothing_is_told_of_what_only_it_knows(tmp_path: Path, watched: Watched) -> None:
    async with leading(tmp_path, levels=watched.levels) as it:
        it.submit(ONE, 1)
        await until(lambda: watched.executions.get("RUNNING") == 1, "one that runs")
        it.store.away = True
        await until(lambda: not watched.executions, "silence")
        assert watched.active == (1, 1, 1)
        it.store.away = False
        await until(lambda: watched.executions.get("RUNNING") == 1, "it again")


async def test_who_leads_no_more_tells_zero_and_who_never_did_tells_nothing(tmp_path: Path, watched: Watched) -> None:
    assert (watched.executions, watched.active) == ({}, ())
    async with leading(tmp_path, levels=watched.levels) as it:
        it.submit(ONE, 1)
        await until(lambda: watched.executions.get("RUNNING") == 1, "one that runs")
    assert set(watched.executions.values()) == {0}
    assert watched.active == (0, 0, 0)
