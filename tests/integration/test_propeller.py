"""The propeller among its real neighbours: etcd, both databases, the queue service, executors. Only task processes are
played.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.clients.propeller import Propellers
from libs.telemetry.metrics import Metering
from libs.telemetry.otlp import SdkMetrics
from libs.workflow.errors import FailedPrecondition, NotFound, PermissionDenied
from libs.workflow.phases import Desired, ExecutionPhase, NodePhase
from services.propeller import levels
from services.standalone.etcd import EtcdServer
from tests.support.faulty_ledger import FaultyLedger
from tests.support.graphs import Plan, Step, integer
from tests.support.meters import shown
from tests.support.propelling import Fleet, Instant
from tests.support.waiting import until

CHAIN = Plan((Step("n0"), Step("n1", ("n0",)), Step("n2", ("n1",), Plan((Step("n0"),), name="inner"))))
WIDE = Plan(tuple(Step(f"n{number}") for number in range(20)), name="wide")


async def leads(propellers: Propellers, address: str) -> bool:
    status = await propellers.status(address, 0, [])
    return status is not None and status.leading


async def test_a_submission_becomes_outputs(tmp_path: Path, database_url: str, etcd: EtcdServer) -> None:
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        fleet.executor(Instant())
        await fleet.register(CHAIN)
        await fleet.submit(CHAIN, 1)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        record = (await fleet.executions.get_by_key([1]))[0]
        assert integer(record.execution.outputs) == 1


async def test_without_the_queue_service_the_sweep_finds_new_work(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.propeller(queue="", sweep_seconds=0.2)
        fleet.executor(Instant())
        await fleet.register(CHAIN)
        await fleet.led()
        await fleet.submit(CHAIN, 1, enqueue=False)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)


async def test_the_leader_shows_how_much_there_is_to_who_collects_metrics(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "LOOK_SECONDS", 0.05)
    reader = InMemoryMetricReader()
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.propeller(queue="", sweep_seconds=0.2, metering=Metering(lambda: SdkMetrics("propeller", reader)))
        await fleet.register(WIDE)
        await fleet.submit(WIDE, 1, enqueue=False)
        await until(lambda: shown(reader).get("airscrew.tasks.active") == [({"airscrew.shard": 0}, 20)], "20 attempts")
        await until(
            lambda: sum(count for _, count in shown(reader).get("airscrew.executions.live", ())) == 1, "one execution"
        )


async def test_an_abort_stops_what_runs(tmp_path: Path, sqlite_url: str, etcd: EtcdServer) -> None:
    processes = Instant(hold=True)
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.propeller(queue="", sweep_seconds=0.2)
        fleet.executor(processes)
        await fleet.register(WIDE)
        await fleet.submit(WIDE, 1, enqueue=False)
        await fleet.until(ExecutionPhase.RUNNING, 1)
        while len(processes.starts) < 20:
            await asyncio.sleep(0.02)
        record = (await fleet.executions.get_by_key([1]))[0]
        await fleet.executions.request_abort(record.execution.id, "enough", "somebody")
        await fleet.until(ExecutionPhase.ABORTED, 1)
        record = (await fleet.executions.get_by_key([1]))[0]
        assert record.execution.intent.desired is Desired.ABORT


async def test_a_successor_adopts_what_runs_and_starts_nothing_twice(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(hold=True)
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet:
        fleet.queue()
        first = fleet.propeller()
        await fleet.led()
        fleet.propeller()
        fleet.executor(processes)
        await fleet.register(WIDE)
        await fleet.submit(WIDE, 1)
        while len(processes.starts) < 20:
            await asyncio.sleep(0.02)
        await first.stop()
        processes.release()
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        assert sorted(processes.starts) == sorted(set(processes.starts))
        assert len(processes.starts) == 21


async def test_what_an_executor_hands_back_when_it_stops_is_begun_anew_elsewhere_at_nobodys_expense(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    stuck, healthy = Instant(hold=True), Instant()
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller()
        leaving = fleet.executor(stuck, "leaving")
        await fleet.register(CHAIN)
        await fleet.submit(CHAIN, 1)
        while not stuck.starts:
            await asyncio.sleep(0.02)
        fleet.executor(healthy, "staying")
        await leaving.stop()
        await fleet.until(ExecutionPhase.SUCCEEDED, 1)
        node = await fleet.executions.get_node(1, "n0")
        assert (node.phase, node.attempt) == (NodePhase.SUCCEEDED, 1)
        assert (node.system_failures, node.user_failures) == (0, 0)


async def test_an_executor_that_is_told_to_drain_takes_nothing_new_and_hands_back_at_the_deadline(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    stuck, healthy = Instant(hold=True), Instant()
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet, Propellers() as propellers:
        fleet.queue()
        fleet.propeller()
        leader = fleet.propellers[0]
        fleet.executor(stuck, "leaving")
        await fleet.register(CHAIN)
        await fleet.submit(CHAIN, 1)
        while not stuck.starts:
            await asyncio.sleep(0.02)
        with pytest.raises(NotFound, match="not connected"):
            await propellers.drain(leader, "nobody", 0)
        await propellers.drain(leader, "leaving", 500_000)
        while not (await propellers.executors(leader, 0))[0].draining:
            await asyncio.sleep(0.02)
        assert [(each.executor, each.attempts) for each in await propellers.executors(leader, 0)] == [("leaving", 1)]
        await fleet.submit(CHAIN, 2)
        fleet.executor(healthy, "staying")
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, 2)
        node = await fleet.executions.get_node(1, "n0")
        assert (node.attempt, node.system_failures, node.user_failures) == (1, 0, 0)
        assert len(stuck.starts) == 1
        leaving, staying = sorted(await propellers.executors(leader, 0), key=lambda each: each.executor)
        assert (leaving.attempts, leaving.draining, staying.draining) == (0, True, False)


async def test_a_leader_is_killed_only_where_that_is_allowed_and_only_the_one_that_is_meant(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    """That it really dies is for `tests/e2e/test_chaos.py`: here all of them live in this process."""
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet, Propellers() as propellers:
        fleet.propeller()
        guarded = fleet.propellers[0]
        while not await leads(propellers, guarded):
            await asyncio.sleep(0.02)
        with pytest.raises(PermissionDenied, match="AIRSCREW_PROPELLER_CHAOS_ALLOWED"):
            await propellers.die(guarded, 0, 1)
        await fleet.services[0].stop()
        fleet.propeller(chaos_allowed=True)
        fragile = fleet.propellers[1]
        while not await leads(propellers, fragile):
            await asyncio.sleep(0.02)
        for shard, epoch in ((0, 1), (1, 2)):
            with pytest.raises(FailedPrecondition, match=f"does not lead shard {shard} in epoch {epoch}"):
                await propellers.die(fragile, shard, epoch)


@pytest.mark.parametrize("seed", range(4))
async def test_each_attempt_starts_once_whatever_happens_to_commits_and_to_their_answers(
    tmp_path: Path, database_url: str, etcd: EtcdServer, seed: int
) -> None:
    processes, faults = Instant(), list[str]()
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(open_ledger=lambda: FaultyLedger(database_url, seed, faults))
        fleet.executor(processes)
        await fleet.register(WIDE)
        await fleet.register(CHAIN)
        await fleet.submit(WIDE, 1, 2, 3)
        await fleet.submit(CHAIN, 4, 5, 6)
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, 2, 3, 4, 5, 6, timeout_seconds=50)
    assert faults, "the test has broken nothing"
    assert sorted(processes.starts) == sorted(set(processes.starts))
    assert len(processes.starts) == 3 * 21 + 3 * 5
    assert all(start.endswith("/0") for start in processes.starts), "no executor was lost, so no attempt may be"
