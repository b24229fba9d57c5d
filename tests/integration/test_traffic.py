"""Traffic between the services is streams that batch: counted, not timed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio

from libs.clients.queue import Enqueuer, Key, Reason
from libs.workflow.phases import ExecutionPhase
from protos import propeller_pb2, propeller_pb2_grpc
from services.standalone.etcd import EtcdServer
from tests.support.graphs import Plan, Step
from tests.support.propelling import Fleet, Instant

ONE_TASK = Plan((Step("n0"),))
EXECUTIONS = 1_000
TASKS = 2 * EXECUTIONS  # each of these plans ends with a task that sums
PER_TASK = 0.1
TASKS_PER_COMMIT = 20


async def test_a_thousand_concurrent_executions_share_messages_and_commits(
    tmp_path: Path, database_url: str, etcd: EtcdServer
) -> None:
    async with Fleet(tmp_path, database_url, etcd.endpoint) as fleet:
        fleet.queue()
        fleet.propeller(lease_ttl_seconds=10)  # everything shares one interpreter here, the lease's thread too
        fleet.executor(Instant(), cpu_millis=2_000_000, memory_bytes=2_000 << 30)
        await fleet.register(ONE_TASK)
        keys = range(1, EXECUTIONS + 1)
        await fleet.submit(ONE_TASK, *keys, enqueue=False)
        async with Enqueuer(fleet.queue_address) as enqueuer:
            for key in keys:
                enqueuer.enqueue(Key(key, 0, "p", reasons=Reason.SUBMITTED))
                await asyncio.sleep(0)
            await fleet.until(ExecutionPhase.SUCCEEDED, *keys, timeout_seconds=60)
            enqueued = enqueuer.counters
        status = await _status(fleet.propellers[0])
        assert enqueued.messages_sent <= PER_TASK * EXECUTIONS
        assert status.work_messages <= PER_TASK * EXECUTIONS
        assert status.messages_sent <= PER_TASK * TASKS
        assert status.messages_received <= PER_TASK * TASKS
        assert status.commits <= TASKS / TASKS_PER_COMMIT


async def _status(address: str) -> propeller_pb2.StatusReply:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = propeller_pb2_grpc.PropellerStub(channel)
        return await stub.Status(propeller_pb2.StatusRequest(), timeout=10)
