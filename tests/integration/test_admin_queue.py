"""The queue at the front door: executions by name, numbers as the queue service has them, pauses that reach it."""

from __future__ import annotations

import time

import grpc
import pytest

from protos import queue_pb2
from tests.support import flyte
from tests.support.admin import Door
from tests.support.sums import register, sums

pytestmark = pytest.mark.timeout(60)


def test_what_waits_is_named_counted_and_held_back(admin: Door, user: flyte.Client) -> None:
    remote = user.remote()
    register(remote)
    with user.stubs() as stubs:
        stubs.airscrew.PauseQueue(queue_pb2.PauseRequest(ttl_us=60_000_000))
        plan = remote.fetch_launch_plan(name=sums.name, version="v1")
        remote.execute(plan, inputs={"x": 1}, execution_name="first", wait=False)
        deadline = time.monotonic() + 10
        while not (stats := stubs.airscrew.GetQueue(queue_pb2.StatsRequest())).depth:
            assert time.monotonic() < deadline, "the key is not in the queue"
            time.sleep(0.02)
        (shard,) = stats.shards
        assert shard.paused_us > 0 and shard.waiting == 1 and shard.lanes[0].lane == flyte.PROJECT
        (entry,) = stubs.airscrew.InspectQueue(queue_pb2.InspectRequest()).entries
        assert entry.execution.name == "first" and entry.entry.key.reasons == queue_pb2.REASON_SUBMITTED
        stubs.airscrew.ResumeQueue(queue_pb2.ResumeRequest())
        (shard,) = stubs.airscrew.GetQueue(queue_pb2.StatsRequest()).shards
        assert shard.paused_us == 0
        with pytest.raises(grpc.RpcError) as caught:
            stubs.airscrew.PauseQueue(queue_pb2.PauseRequest())
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT and "ttl_us" in caught.value.details()


def test_while_the_queue_service_is_away_whoever_asks_hears_who_does_not_answer(
    admin: Door, user: flyte.Client
) -> None:
    admin.run(admin.queue.stop())
    with user.stubs() as stubs, pytest.raises(grpc.RpcError) as caught:
        stubs.airscrew.GetQueue(queue_pb2.StatsRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the queue service does not answer" in caught.value.details()
