"""What becomes of work whose keys are in the queue service when that is paused, or dies."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from libs.clients.queue import Operator
from libs.workflow.phases import ExecutionPhase
from protos import queue_pb2
from services.standalone.etcd import EtcdServer
from tests.support.graphs import Plan, Step
from tests.support.propelling import Fleet, Instant
from tests.support.queue_process import QueueProcess

pytestmark = pytest.mark.timeout(120)

ONE = Plan((Step("n0"),), name="one")
MANY = range(1001, 2001)
SWEEP_SECONDS = 0.5


async def test_a_paused_queue_begins_nothing_new_and_one_that_is_killed_with_a_thousand_keys_loses_none(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer
) -> None:
    processes = Instant(hold=True)
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        process = QueueProcess(tmp_path / "queue.log", fleet.queue_address)
        await process.start()
        operator = Operator(fleet.queue_address)
        try:
            leader = fleet.propeller(sweep_seconds=SWEEP_SECONDS, lease_ttl_seconds=10)
            fleet.executor(processes)
            await fleet.register(ONE)
            await fleet.submit(ONE, 1)
            await fleet.until(ExecutionPhase.RUNNING, 1)

            await operator.pause(queue_pb2.PauseRequest(ttl_us=3_600_000_000))
            await fleet.submit(ONE, *MANY)
            async with asyncio.timeout(30):
                while (await operator.stats()).depth < len(MANY):
                    await asyncio.sleep(0.02)
            # A new leader holds them back, too: what it takes over has begun.
            await leader.stop()
            fleet.propeller(sweep_seconds=SWEEP_SECONDS, lease_ttl_seconds=10, listen=fleet.propellers[0])
            # Only a sweep finds an abort that nobody has told of: when it is done, a sweep has been.
            await fleet.executions.request_abort((await fleet.execution(1)).id, "enough", "somebody")
            await fleet.until(ExecutionPhase.ABORTED, 1)
            assert set((await fleet.phases(*MANY)).values()) == {ExecutionPhase.QUEUED}
            assert len(processes.starts) == 1

            processes.release()
            assert await process.end(signal.SIGKILL) == -signal.SIGKILL
            # The pause dies with the service: nobody waits for its end, which would be in an hour.
            await fleet.until(ExecutionPhase.SUCCEEDED, *MANY, timeout_seconds=90)
            assert len(set(processes.starts)) == len(processes.starts)
            assert len(processes.starts) == 2 * len(MANY) + 1, "two tasks each, and one of the first"
        finally:
            await operator.close()
            process.clean_up()
