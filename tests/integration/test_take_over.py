"""A new leader of many live executions: what waits comes first, and somebody can tell when all of them are warm."""

from __future__ import annotations

import asyncio
from pathlib import Path

from libs.rpc import channel
from libs.workflow.phases import ExecutionPhase
from protos import propeller_pb2, propeller_pb2_grpc
from services.standalone.etcd import EtcdServer
from tests.bench import takeover
from tests.support.graphs import Plan, Step
from tests.support.propelling import Fleet, Instant

COUNT = 1_500
PLAN = Plan((Step("n0"),))


async def test_the_first_commit_does_not_wait_for_what_only_goes_on(database_url: str) -> None:
    [found] = await takeover.take_over(database_url, COUNT, 1)
    assert found.cold > COUNT / 2, f"{COUNT - found.cold} executions came before the first commit"
    assert found.first_commit < found.warm < 10


async def test_the_status_of_a_leader_tells_since_when_all_are_warm(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.queue()
        await fleet.register(PLAN)
        await fleet.submit(PLAN, 1, 2, 3)
        fleet.propeller()
        connection = channel.connect(fleet.propellers[0])
        stub: propeller_pb2_grpc.PropellerAsyncStub = propeller_pb2_grpc.PropellerStub(connection)
        try:
            while True:
                status = await stub.Status(propeller_pb2.StatusRequest(), wait_for_ready=True, timeout=10)
                if status.synced_us:
                    break
                await asyncio.sleep(0.02)
            assert (status.cold, status.executions) == (0, 3)
            again = await stub.Status(propeller_pb2.StatusRequest(), timeout=10)
            assert again.synced_us == status.synced_us
        finally:
            await connection.close()
        fleet.executor(Instant())
        await fleet.until(ExecutionPhase.SUCCEEDED, 1, 2, 3)
