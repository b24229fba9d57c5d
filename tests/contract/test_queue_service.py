"""airscrew.queue.v1 as its .proto says, spoken to with plain messages over a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from libs.rpc import channel
from libs.telemetry.traces import TraceContext
from libs.wire.hints import hints_in
from protos import queue_pb2, queue_pb2_grpc
from tests.support.queue_server import QueueServer

Key = queue_pb2.Key
Work = queue_pb2.WorkRequest
Inspected = queue_pb2.InspectReply


@pytest_asyncio.fixture
async def stub(queue_server: QueueServer) -> AsyncIterator[Any]:
    async with channel.connect(queue_server.address) as connection:
        yield queue_pb2_grpc.QueueStub(connection)


async def enqueue(stub: Any, *keys: queue_pb2.Key) -> None:
    """Adds keys and returns when they are acknowledged."""
    call = stub.Enqueue()
    await call.write(queue_pb2.EnqueueRequest(seq=1, keys=keys))
    await call.done_writing()
    assert (await call.read()).seq == 1
    assert await call.read() is grpc.aio.EOF


class Leader:
    """A Work stream, and the leases read from it."""

    def __init__(self, stub: Any, *, epoch: int = 1, credits: int = 1000, shard: int = 0) -> None:
        self.call = stub.Work()
        self.told: Any = None
        """The first reply."""
        self._first = Work(open=Work.Open(shard=shard, epoch=epoch, propeller=f"p{epoch}"), credits=credits)

    async def open(self) -> Leader:
        await self.call.write(self._first)
        await self.call.initial_metadata()
        with suppress(grpc.aio.AioRpcError):  # whoever expects that looks at the status
            self.told = await asyncio.wait_for(self.call.read(), 5)
        return self

    async def leases(self) -> list[queue_pb2.WorkReply.Lease]:
        reply = await asyncio.wait_for(self.call.read(), 5)
        return [] if reply is grpc.aio.EOF else list(reply.leases)

    async def ids(self) -> list[int]:
        return [lease.key.id for lease in await self.leases()]

    async def silent(self, seconds: float = 0.15) -> bool:
        """Whether nothing comes for so long. Ends the stream."""
        try:
            async with asyncio.timeout(seconds):
                await self.call.read()
        except TimeoutError:
            return True
        return False

    async def say(self, **fields: Any) -> None:
        await self.call.write(Work(**fields))

    async def status(self) -> tuple[grpc.StatusCode, str]:
        return await asyncio.wait_for(self.call.code(), 5), await self.call.details()


async def test_a_key_comes_out_as_it_went_in(stub: Any) -> None:
    key = Key(shard=3, id=7, lane="project", priority=-2, reasons=queue_pb2.REASON_SWEEP, traceparent="t")
    await enqueue(stub, key)
    leader = await Leader(stub, shard=3).open()
    (lease,) = await leader.leases()
    assert lease.key == key and lease.waited_us > 0
    leader.call.cancel()


async def test_shards_are_separate(stub: Any) -> None:
    await enqueue(stub, Key(shard=1, id=1), Key(shard=2, id=2))
    leader = await Leader(stub, shard=2).open()
    assert await leader.ids() == [2] and await leader.silent()


async def test_what_gathers_while_nobody_leads_comes_in_one_message_up_to_the_credits(stub: Any) -> None:
    await enqueue(stub, *(Key(id=number) for number in range(1, 101)))
    leader = await Leader(stub, credits=60).open()
    leases = await leader.leases()
    assert [lease.key.id for lease in leases] == list(range(1, 61))
    await leader.say(done=[lease.lease for lease in leases[:10]], credits=5)
    assert await leader.ids() == list(range(61, 76))
    leader.call.cancel()


async def test_a_key_enqueued_twice_is_leased_once_with_the_higher_priority_and_all_reasons(stub: Any) -> None:
    await enqueue(stub, Key(id=1, priority=1, reasons=1), Key(id=1, priority=4, reasons=2), Key(id=1, reasons=8))
    leader = await Leader(stub).open()
    (lease,) = await leader.leases()
    assert (lease.key.priority, lease.key.reasons) == (4, 11)
    assert await leader.silent()


async def test_a_key_enqueued_while_leased_is_leased_again_after_done_and_not_before(stub: Any) -> None:
    leader = await Leader(stub).open()
    await enqueue(stub, Key(id=1))
    (lease,) = await leader.leases()
    await enqueue(stub, Key(id=1), Key(id=2))
    assert await leader.ids() == [2]
    await leader.say(done=[lease.lease])
    assert await leader.ids() == [1]
    leader.call.cancel()


async def test_a_retried_key_comes_again_after_its_delay(stub: Any) -> None:
    leader = await Leader(stub).open()
    await enqueue(stub, Key(id=1))
    (lease,) = await leader.leases()
    start = time.monotonic()
    await leader.say(retry=[Work.Retry(lease=lease.lease, after_us=200_000)])
    (again,) = await leader.leases()
    assert again.lease != lease.lease
    assert time.monotonic() - start >= 0.2 + again.waited_us / 1e6, "it does not wait before it is due"
    leader.call.cancel()


async def test_a_delayed_key_comes_when_it_is_due(stub: Any) -> None:
    leader = await Leader(stub).open()
    start = time.monotonic()
    await enqueue(stub, Key(id=1, delay_us=200_000), Key(id=2))
    assert await leader.ids() == [2]
    assert await leader.ids() == [1]
    assert time.monotonic() - start >= 0.2
    leader.call.cancel()


@pytest.mark.parametrize("end", ["cancel", "done_writing"])
async def test_the_end_of_a_stream_delivers_its_keys_again(stub: Any, end: str) -> None:
    await enqueue(stub, Key(id=1), Key(id=2))
    leader = await Leader(stub).open()
    first, _ = await leader.leases()
    await leader.say(done=[first.lease])
    await asyncio.sleep(0.05)
    if end == "cancel":
        leader.call.cancel()
    else:
        await leader.call.done_writing()
        assert await leader.status() == (grpc.StatusCode.OK, "")
    successor = await Leader(stub).open()
    assert await successor.ids() == [2]
    successor.call.cancel()


async def test_a_higher_epoch_revokes_and_the_lower_ones_stream_is_told_why(stub: Any) -> None:
    await enqueue(stub, Key(id=1))
    old = await Leader(stub, epoch=4).open()
    assert await old.ids() == [1]
    new = await Leader(stub, epoch=5).open()
    assert await new.ids() == [1]
    code, details = await old.status()
    assert code is grpc.StatusCode.FAILED_PRECONDITION and "epoch 5" in details
    late = await Leader(stub, epoch=4).open()
    assert (await late.status())[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert await new.silent(), "the loser disturbs nobody"


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([Work(credits=1)], "open: the first message"),
        ([Work(open=Work.Open(epoch=0))], "open.epoch: 0 is not positive"),
        ([Work(open=Work.Open(epoch=1)), Work(open=Work.Open(epoch=2))], "open: only the first message"),
    ],
)
async def test_a_work_stream_that_breaks_the_rules_is_refused(stub: Any, messages: list[Any], complaint: str) -> None:
    call = stub.Work()
    for message in messages:
        await call.write(message)
    with suppress(grpc.aio.AioRpcError):
        while await asyncio.wait_for(call.read(), 5) is not grpc.aio.EOF:
            pass  # what was said before the mistake
    assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.INVALID_ARGUMENT
    assert complaint in await call.details()


async def test_a_key_without_an_id_is_refused_by_its_place_in_the_message(stub: Any) -> None:
    call = stub.Enqueue()
    await call.write(queue_pb2.EnqueueRequest(seq=1, keys=[Key(id=1), Key()]))
    assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.INVALID_ARGUMENT
    assert "keys[1].id: 0 is not positive" in await call.details()


async def test_hints_reach_those_who_subscribed_before(stub: Any) -> None:
    watching = stub.Subscribe(queue_pb2.SubscribeRequest())
    await watching.initial_metadata()
    publishing = stub.Publish()
    await publishing.write(queue_pb2.PublishRequest(ids=[1, 2], phases=[2, 4]))
    reply = await asyncio.wait_for(watching.read(), 5)
    assert hints_in(reply) == [(1, 2), (2, 4)] and not reply.lagged
    await publishing.done_writing()
    assert await publishing == queue_pb2.PublishReply()
    watching.cancel()


async def test_stats_say_what_waits_is_delayed_and_leased(stub: Any, queue_server: QueueServer) -> None:
    await enqueue(stub, Key(shard=2, id=1), Key(shard=2, id=1), Key(shard=2, id=2), Key(shard=2, id=3))
    await enqueue(stub, Key(shard=2, id=4, delay_us=60_000_000))
    leader = await Leader(stub, epoch=9, credits=1, shard=2).open()
    assert await leader.ids() == [1]
    reply = await stub.Stats(queue_pb2.StatsRequest())
    (shard,) = reply.shards
    assert shard.oldest_us > 0
    metrics = shard.metrics
    assert (metrics.depth, metrics.adds, metrics.retries) == (2, 3, 1)
    assert metrics.queue_latency.count == sum(metrics.queue_latency.buckets) == 1
    assert metrics.longest_running_processor_us == metrics.unfinished_work_us > 0
    shard.ClearField("oldest_us")
    shard.ClearField("metrics")
    assert shard == queue_pb2.StatsReply.Shard(
        shard=2,
        waiting=2,
        delayed=1,
        leased=1,
        epoch=9,
        propeller="p9",
        added=5,
        collapsed=1,
        delivered=1,
        lanes=[queue_pb2.StatsReply.Lane(waiting=2)],
    )
    assert (reply.depth, reply.limit) == (3, 1_000_000)
    leader.call.cancel()


async def test_depth_is_told_by_priority_and_lane_in_the_order_of_their_turns(stub: Any) -> None:
    await enqueue(
        stub,
        Key(id=1, lane="a"),
        Key(id=2, lane="b"),
        Key(id=3, lane="b"),
        Key(id=4, lane="a", priority=5),
    )
    (shard,) = (await stub.Stats(queue_pb2.StatsRequest())).shards
    assert [(lane.priority, lane.lane, lane.waiting) for lane in shard.lanes] == [(5, "a", 1), (0, "a", 1), (0, "b", 2)]


async def test_inspecting_tells_of_every_key_where_it_is_and_who_has_it(stub: Any) -> None:
    await enqueue(stub, Key(shard=1, id=1), Key(shard=1, id=2, lane="p", priority=-1, reasons=2))
    await enqueue(stub, Key(shard=1, id=3, delay_us=60_000_000), Key(shard=1, id=4, delay_us=30_000_000))
    leader = await Leader(stub, epoch=9, credits=1, shard=1).open()
    (lease,) = await leader.leases()
    entries = (await stub.Inspect(queue_pb2.InspectRequest())).entries
    leased, waiting, *delayed = entries
    assert (leased.key.id, leased.state, leased.propeller, leased.lease) == (
        1,
        Inspected.STATE_LEASED,
        "p9",
        lease.lease,
    )
    assert (waiting.state, waiting.propeller) == (Inspected.STATE_WAITING, "") and waiting.age_us > 0
    assert waiting.key == Key(shard=1, id=2, lane="p", priority=-1, reasons=2)
    assert [entry.key.id for entry in delayed] == [4, 3], "what is due next comes first"
    assert 0 < delayed[0].key.delay_us <= 30_000_000 and delayed[0].state == Inspected.STATE_DELAYED
    assert (await stub.Inspect(queue_pb2.InspectRequest(shard=7))).entries == []
    few = (await stub.Inspect(queue_pb2.InspectRequest(shard=1, limit=3))).entries
    assert [entry.key.id for entry in few] == [1, 2, 4]
    leader.call.cancel()


async def test_more_keys_than_a_message_should_hold_cannot_be_asked_for(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="limit: 1001 is more than 1000"):
        await stub.Inspect(queue_pb2.InspectRequest(limit=1001))


async def test_a_key_that_came_back_is_known_to_have(stub: Any) -> None:
    await enqueue(stub, Key(id=1))
    leader = await Leader(stub).open()
    (lease,) = await leader.leases()
    await leader.say(retry=[Work.Retry(lease=lease.lease)])
    (again,) = await leader.leases()
    (entry,) = (await stub.Inspect(queue_pb2.InspectRequest())).entries
    assert (entry.lease, entry.retries) == (again.lease, 1)
    (shard,) = (await stub.Stats(queue_pb2.StatsRequest())).shards
    assert shard.metrics.retries == 1
    leader.call.cancel()


async def test_while_it_is_paused_nothing_is_handed_out_and_its_leaders_know_until_it_is_resumed(stub: Any) -> None:
    leader = await Leader(stub).open()
    await stub.Pause(queue_pb2.PauseRequest(ttl_us=60_000_000))
    told = await asyncio.wait_for(leader.call.read(), 5)
    assert not told.leases and 0 < told.paused_us <= 60_000_000
    await enqueue(stub, Key(id=1))
    (shard,) = (await stub.Stats(queue_pb2.StatsRequest())).shards
    assert (shard.waiting, shard.leased) == (1, 0) and shard.paused_us > 0
    await stub.Resume(queue_pb2.ResumeRequest())
    assert (await asyncio.wait_for(leader.call.read(), 5)).paused_us == 0
    assert await leader.ids() == [1]
    leader.call.cancel()


async def test_whoever_opens_a_stream_is_told_first_whether_the_queue_is_paused(stub: Any) -> None:
    await enqueue(stub, Key(id=1), Key(shard=1, id=2))
    await stub.Pause(queue_pb2.PauseRequest(shard=1, ttl_us=60_000_000))
    free, held = await Leader(stub).open(), await Leader(stub, shard=1).open()
    assert free.told.HasField("paused_us") and free.told.paused_us == 0 and await free.ids() == [1]
    assert 0 < held.told.paused_us <= 60_000_000 and await held.silent()
    free.call.cancel()


async def test_a_pause_ends_by_itself(stub: Any) -> None:
    await enqueue(stub, Key(id=1))
    await stub.Pause(queue_pb2.PauseRequest(ttl_us=200_000))
    begun = time.monotonic()
    leader = await Leader(stub).open()
    replies = [leader.told, *[await asyncio.wait_for(leader.call.read(), 5) for _ in range(2)]]
    assert [reply.HasField("paused_us") for reply in replies] == [True, True, False]
    assert replies[2].leases[0].key.id == 1 and time.monotonic() - begun >= 0.15
    leader.call.cancel()


async def test_one_shard_is_paused_alone_and_all_are_with_those_to_come(stub: Any) -> None:
    await stub.Pause(queue_pb2.PauseRequest(shard=1, ttl_us=60_000_000))
    await enqueue(stub, Key(id=1), Key(shard=1, id=2))
    free = await Leader(stub).open()
    assert await free.ids() == [1]
    await stub.Pause(queue_pb2.PauseRequest(ttl_us=60_000_000))
    await enqueue(stub, Key(shard=2, id=3))
    assert [shard.paused_us > 0 for shard in (await stub.Stats(queue_pb2.StatsRequest())).shards] == [True] * 3
    await stub.Resume(queue_pb2.ResumeRequest(shard=2))
    assert [shard.paused_us > 0 for shard in (await stub.Stats(queue_pb2.StatsRequest())).shards] == [True, True, False]
    free.call.cancel()


@pytest.mark.parametrize("ttl_us", [0, -1, 8 * 24 * 3600 * 1_000_000])
async def test_a_pause_for_ever_or_for_no_time_is_refused(stub: Any, ttl_us: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"ttl_us: .* no more than 7 days") as refused:
        await stub.Pause(queue_pb2.PauseRequest(ttl_us=ttl_us))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_wait_of_a_key_is_a_span_below_its_executions_root(stub: Any, queue_server: QueueServer) -> None:
    root = TraceContext.mint(b"0123456789abcdef", sampled=True)
    unsampled = TraceContext.mint(b"fedcba9876543210", sampled=False)
    await enqueue(
        stub,
        Key(id=1, lane="p", traceparent=root.traceparent()),
        Key(id=2, traceparent=unsampled.traceparent()),
        Key(id=3, traceparent="nonsense"),
        Key(id=4),
    )
    await asyncio.sleep(0.05)
    leader = await Leader(stub).open()
    lease = (await leader.leases())[0]
    (span,) = queue_server.traced.spans
    assert span.name == "queue" and span.parent_span_id == root.span_id
    assert span.context == root.child("queue", lease.lease)
    assert span.end_us - span.start_us == lease.waited_us >= 50_000
    assert span.attributes == {"airscrew.key": 1, "airscrew.shard": 0, "airscrew.lane": "p", "airscrew.priority": 0}
    leader.call.cancel()


async def test_stopping_ends_every_stream_politely(stub: Any, queue_server: QueueServer) -> None:
    leader = await Leader(stub).open()
    enqueuing, watching, publishing = stub.Enqueue(), stub.Subscribe(queue_pb2.SubscribeRequest()), stub.Publish()
    for call in (enqueuing, watching, publishing):
        await call.initial_metadata()
    await queue_server.stop()
    for call in (leader.call, enqueuing, watching, publishing):
        assert await call.code() is grpc.StatusCode.OK


@pytest.fixture
def small_queue(queue_server: QueueServer) -> Callable[[], Any]:
    """Restarts the service with room for three keys."""

    async def restart() -> None:
        await queue_server.stop()
        queue_server._depth = 3
        await queue_server.start()

    return restart


async def test_a_full_queue_says_so_and_keeps_what_it_has(stub: Any, small_queue: Callable[[], Any]) -> None:
    await small_queue()
    call = stub.Enqueue(wait_for_ready=True)
    await call.write(queue_pb2.EnqueueRequest(seq=1, keys=[Key(id=number) for number in range(1, 6)]))
    assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "3 keys wait in the queue" in await call.details()
    assert ("retry-after-ms", "1000") in list(await call.trailing_metadata())
    leader = await Leader(stub).open()
    assert await leader.ids() == [1, 2, 3]
    leader.call.cancel()
