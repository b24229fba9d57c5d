"""One propeller hands over to another in the middle of much work: all of it ends, nothing of it runs twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from libs.workflow.phases import ExecutionPhase
from services.standalone.etcd import EtcdServer
from tests.support.graphs import Plan, Step
from tests.support.propelling import Fleet, Instant

CHAIN = Plan((Step("n0"), Step("n1", ("n0",)), Step("n2", ("n1",))))
TASKS = 4  # with the one that sums
KEYS = range(1, 301)


async def test_a_leader_that_stops_under_load_is_succeeded_and_nothing_runs_twice(
    tmp_path: Path, postgres_url: str, etcd: EtcdServer
) -> None:
    processes = Instant()
    async with Fleet(tmp_path, postgres_url, etcd.endpoint) as fleet:
        fleet.queue()
        propellers = [fleet.propeller(lease_ttl_seconds=10, executor_grace_seconds=30.0) for _ in range(3)]
        fleet.executor(processes)
        await fleet.register(CHAIN)
        await fleet.submit(CHAIN, *KEYS)
        for propeller in propellers[:2]:
            started = len(processes.starts)
            while len(processes.starts) < started + TASKS * len(KEYS) // 4:
                await asyncio.sleep(0.005)
            await propeller.stop()  # fails when serving has failed
        await fleet.until(ExecutionPhase.SUCCEEDED, *KEYS, timeout_seconds=60)
        assert len(processes.starts) == len(set(processes.starts)) == TASKS * len(KEYS)
