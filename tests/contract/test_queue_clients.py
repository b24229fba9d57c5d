"""The queue's clients against the real service: what they promise when it is there, when it is away, and in between."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from libs.clients.queue import Enqueuer, Key, Leased, Operator, Publisher, Reason, Subscriber, WorkFeed
from libs.workflow import errors
from libs.workflow.phases import ExecutionPhase
from protos import queue_pb2
from tests.support.queue_server import QueueServer
from tests.support.waiting import until

MOST_MESSAGES_PER_ITEM = 0.1


def feed_of(server: QueueServer, *, epoch: int = 1, credits: int = 4096) -> WorkFeed:
    return WorkFeed(server.address, 0, epoch, f"p{epoch}", credits=credits)


async def next_of(feed: WorkFeed) -> list[Leased]:
    return await asyncio.wait_for(anext(feed), 5)


async def take(feed: WorkFeed, count: int) -> list[Leased]:
    """The next `count` leases, however they are batched."""
    leases: list[Leased] = []
    while len(leases) < count:
        leases += await next_of(feed)
    assert len(leases) == count
    return leases


def waiting(server: QueueServer) -> int:
    return sum(shard.depth for shard in server.shards)


async def test_a_key_travels_from_one_client_to_the_other(queue_server: QueueServer) -> None:
    key = Key(7, 0, "project", 3, Reason.INTENT | Reason.SIGNAL, traceparent="t")
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server) as feed:
        enqueuer.enqueue(key)
        (leased,) = await next_of(feed)
        assert leased.key == key and leased.waited_us >= 0
        feed.done(leased)
        await until(lambda: queue_server.shards[0].queue.processing == 0)


@pytest.mark.parametrize(
    ("reasons", "wanted"),
    [(Reason.SUBMITTED, False), (Reason.NONE, False), (Reason.INTENT | Reason.SUBMITTED, True), (Reason.SWEEP, True)],
)
def test_only_a_key_that_was_just_submitted_needs_no_look_at_its_intent(reasons: Reason, wanted: bool) -> None:
    assert Key(1, 0, reasons=reasons).wants_intent is wanted


async def test_many_single_keys_travel_in_few_messages_on_every_hop(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server) as feed:
        publisher, subscriber = Publisher(queue_server.address), Subscriber(queue_server.address)

        async def submit() -> None:
            for number in range(1, 1001):
                enqueuer.enqueue(Key(number, 0))
                await asyncio.sleep(0)

        async def watch() -> None:
            seen = 0
            async for news in subscriber:
                seen += len(news.hints)
                if seen == 1000:
                    return

        async with publisher, subscriber, asyncio.timeout(20):
            watching = asyncio.create_task(watch(), name="watch")
            await until(lambda: subscriber.counters.connections == 1)
            submitting = asyncio.create_task(submit(), name="submit")
            for leased in await take(feed, 1000):
                feed.done(leased)
                publisher.publish([(leased.key.id, 2)])
                await asyncio.sleep(0)
            await submitting
            await watching
            await until(lambda: queue_server.shards[0].queue.processing == 0)
        for counters in (enqueuer.counters, feed.counters, publisher.counters, subscriber.counters):
            items = max(counters.items_sent, counters.items_received)
            assert items == 1000
            assert counters.messages_sent <= MOST_MESSAGES_PER_ITEM * items
            assert counters.messages_received <= MOST_MESSAGES_PER_ITEM * items


async def test_a_lone_key_does_not_wait_for_others(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server) as feed:
        enqueuer.enqueue(Key(1, 0))
        await take(feed, 1)
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        waits = []
        for number in range(2, 12):
            start = loop.time()
            enqueuer.enqueue(Key(number, 0))
            await take(feed, 1)
            waits.append(loop.time() - start)
            await asyncio.sleep(0.03)
        assert sorted(waits)[len(waits) // 2] < 0.01


async def test_no_more_leases_are_outstanding_than_there_are_credits(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server, credits=3) as feed:
        enqueuer.enqueue(*(Key(number, 0) for number in range(1, 9)))
        first = await take(feed, 3)
        await until(lambda: waiting(queue_server) == 5)
        feed.done(first[0])
        feed.retry(first[1], after_us=50_000)
        second = await take(feed, 2)
        assert [leased.key.id for leased in second] == [4, 5]
        for leased in (first[2], *second):
            feed.done(leased)
        rest = await take(feed, 3)
        for leased in rest:
            feed.done(leased)
        assert [leased.key.id for leased in rest + await take(feed, 1)] == [6, 7, 8, 2]


async def test_saying_twice_that_a_lease_is_done_is_saying_it_once(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server, credits=1) as feed:
        enqueuer.enqueue(Key(1, 0))
        (leased,) = await take(feed, 1)
        feed.done(leased)
        feed.done(leased)
        feed.retry(leased)
        await until(lambda: queue_server.shards[0].queue.processing == 0)
        assert waiting(queue_server) == 0


async def test_keys_enqueued_while_the_service_is_away_arrive_when_it_is_back(queue_server: QueueServer) -> None:
    await queue_server.stop()
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server) as feed:
        enqueuer.enqueue(*(Key(number, 0) for number in range(1, 101)))
        await asyncio.sleep(0.3)
        await queue_server.start()
        assert [leased.key.id for leased in await take(feed, 100)] == list(range(1, 101))


async def test_keys_that_were_not_acknowledged_are_sent_again(queue_server: QueueServer) -> None:
    # The service dies with keys that it took in and has not acknowledged yet: the next one gets them again, in order.
    async with Enqueuer(queue_server.address) as enqueuer:
        enqueuer.enqueue(Key(1, 0))
        await until(lambda: not enqueuer._unacknowledged and enqueuer.counters.items_sent == 1)
        enqueuer.enqueue(Key(2, 0))
        await until(lambda: enqueuer.counters.items_sent == 2)
        enqueuer.enqueue(Key(3, 0))
        await until(lambda: enqueuer.counters.items_sent == 3)
        assert enqueuer._unacknowledged
        await queue_server.break_down()
        await queue_server.start()
        async with feed_of(queue_server) as feed:
            assert 3 in [leased.key.id for leased in await take(feed, 2)]


async def test_a_queue_that_stays_away_costs_the_oldest_keys_and_a_warning(
    queue_server: QueueServer, caplog: pytest.LogCaptureFixture
) -> None:
    await queue_server.stop()
    async with Enqueuer(queue_server.address, capacity_keys=10) as enqueuer:
        with caplog.at_level(logging.WARNING):
            for number in range(1, 101):
                enqueuer.enqueue(Key(number, 0))
        warnings = [record for record in caplog.records if "is away or full" in record.message]
        assert len(warnings) == 2, "at the first key and at the tenth, not at each"
        await queue_server.start()
        async with feed_of(queue_server) as feed:
            assert [leased.key.id for leased in await take(feed, 10)] == list(range(91, 101))


async def test_leaving_the_context_sends_what_is_left(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer:
        for number in range(1, 5001):
            enqueuer.enqueue(Key(number, 0))
    assert waiting(queue_server) == 5000


async def test_leaving_the_context_while_the_service_is_away_takes_a_second_at_most(queue_server: QueueServer) -> None:
    await queue_server.stop()
    async with asyncio.timeout(2.5):
        async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server):
            enqueuer.enqueue(Key(1, 0))


async def test_what_is_no_key_is_refused_before_it_is_sent(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer:
        with pytest.raises(ValueError, match="0 is not the key of an execution"):
            enqueuer.enqueue(Key(0, 0))


async def test_who_is_refused_because_the_queue_is_full_waits_as_long_as_it_says_and_loses_nothing() -> None:
    server = QueueServer(depth=2)
    server.retry_after_us = 700_000
    await server.start()
    async with Enqueuer(server.address) as enqueuer:
        enqueuer.enqueue(Key(1, 0), Key(2, 0), Key(3, 0))
        await until(lambda: waiting(server) == 2)
        begun = time.monotonic()
        found: set[int] = set()
        async with feed_of(server) as feed:
            while 3 not in found:
                found |= {leased.key.id for leased in await next_of(feed)}
        assert found == {1, 2, 3} and time.monotonic() - begun >= 0.6
    await server.stop()


async def test_a_feed_knows_of_a_pause_as_long_as_it_lasts_and_the_connection_too(queue_server: QueueServer) -> None:
    operator = Operator(queue_server.address)
    async with feed_of(queue_server) as feed:
        assert not feed.paused and not feed.informed.is_set()
        await asyncio.wait_for(feed.informed.wait(), 5)
        assert not feed.paused
        await operator.pause(queue_pb2.PauseRequest(ttl_us=60_000_000))
        await until(lambda: feed.paused)
        await operator.resume(queue_pb2.ResumeRequest())
        await until(lambda: not feed.paused)
        await operator.pause(queue_pb2.PauseRequest(ttl_us=60_000_000))
        await until(lambda: feed.paused)
        await operator.close()
        await queue_server.break_down()
        await until(lambda: not feed.paused and not feed.informed.is_set())


async def test_an_operator_is_told_what_went_wrong_in_our_own_words(queue_server: QueueServer) -> None:
    operator = Operator(queue_server.address)
    with pytest.raises(errors.InvalidArgument, match="ttl_us"):
        await operator.pause(queue_pb2.PauseRequest())
    assert (await operator.stats()).limit == 1_000_000
    assert not (await operator.inspect(queue_pb2.InspectRequest())).entries
    await operator.close()


async def test_after_a_new_connection_old_leases_say_nothing(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer, feed_of(queue_server) as feed:
        enqueuer.enqueue(Key(1, 0), Key(2, 0))
        old = await take(feed, 2)
        await until(lambda: not enqueuer._unacknowledged)
        await queue_server.break_down()
        await queue_server.start()
        enqueuer.enqueue(Key(1, 0))
        (new,) = await take(feed, 1)
        for leased in old:
            feed.done(leased)
            feed.retry(leased)
        await asyncio.sleep(0.1)
        assert queue_server.shards[0].queue.processing == 1, "the new lease stands"
        assert new.call != old[0].call
        feed.done(new)
        await until(lambda: queue_server.shards[0].queue.processing == 0)


async def test_leaving_a_feed_hands_back_what_is_not_done(queue_server: QueueServer) -> None:
    async with Enqueuer(queue_server.address) as enqueuer:
        enqueuer.enqueue(Key(1, 0), Key(2, 0))
        async with feed_of(queue_server) as feed:
            first, _ = await take(feed, 2)
            feed.done(first)
        async with feed_of(queue_server, epoch=2) as successor:
            assert [leased.key.id for leased in await take(successor, 1)] == [2]
        assert queue_server.shards[0].queue.processing == 0


async def test_a_feed_whose_epoch_is_over_says_so_and_a_second_look_too(queue_server: QueueServer) -> None:
    async with feed_of(queue_server, epoch=1) as old:
        await until(lambda: old.counters.connections == 1)
        async with feed_of(queue_server, epoch=2):
            for _ in range(2):
                with pytest.raises(errors.FailedPrecondition, match="epoch 2"):
                    await next_of(old)


async def test_a_feed_that_is_left_ends_whoever_iterates_over_it(queue_server: QueueServer) -> None:
    async def read(feed: WorkFeed) -> list[list[Leased]]:
        return [leases async for leases in feed]

    async with feed_of(queue_server) as feed:
        reading = asyncio.create_task(read(feed), name="read")
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(reading, 1) == []


async def test_a_subscriber_begins_by_not_knowing_and_then_hears_everything(queue_server: QueueServer) -> None:
    async with Publisher(queue_server.address) as publisher, Subscriber(queue_server.address) as subscriber:
        assert await anext(subscriber) == ([], True)
        publisher.publish([(1, 2)])
        assert await asyncio.wait_for(anext(subscriber), 5) == ([(1, 2)], False)
        publisher.publish([(1, 4)])
        publisher.publish([(2, 6)])
        assert await asyncio.wait_for(anext(subscriber), 5) == ([(1, 4), (2, 6)], False)


async def test_what_goes_on_is_told_once_and_an_end_before_it(queue_server: QueueServer) -> None:
    async with Publisher(queue_server.address) as publisher, Subscriber(queue_server.address) as subscriber:
        await anext(subscriber)
        for _ in range(100):
            publisher.publish([(1, ExecutionPhase.RUNNING)])
            publisher.publish([(2, ExecutionPhase.RUNNING)])
        publisher.publish([(2, ExecutionPhase.FAILED)])
        assert await asyncio.wait_for(anext(subscriber), 5) == ([(2, ExecutionPhase.FAILED)], False)
        assert await asyncio.wait_for(anext(subscriber), 5) == ([(1, ExecutionPhase.RUNNING)], False)
        publisher.publish([(3, ExecutionPhase.RUNNING)])
    # Leaving does not lose it, and this would not return if it had been said twice.
    assert publisher.counters.items_sent == 3


async def test_a_subscriber_that_was_cut_off_does_not_know_again(queue_server: QueueServer) -> None:
    async with Publisher(queue_server.address) as publisher, Subscriber(queue_server.address) as subscriber:
        await anext(subscriber)
        waiting_for_news = asyncio.create_task(anext(subscriber), name="news")  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        await queue_server.break_down()
        await queue_server.start()
        assert await asyncio.wait_for(waiting_for_news, 5) == ([], True)
        await until(lambda: publisher.counters.connections == 2)
        publisher.publish([(3, 4)])
        assert await asyncio.wait_for(anext(subscriber), 5) == ([(3, 4)], False)


async def test_a_subscriber_may_be_asked_with_a_deadline(queue_server: QueueServer) -> None:
    async with Publisher(queue_server.address) as publisher, Subscriber(queue_server.address) as subscriber:
        await anext(subscriber)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscriber), 0.05)
        assert await asyncio.wait_for(anext(subscriber), 5) == ([], True), "what came meanwhile may be lost"
        publisher.publish([(1, 2)])
        assert await asyncio.wait_for(anext(subscriber), 5) == ([(1, 2)], False)


async def test_publishing_to_nobody_costs_nothing(queue_server: QueueServer) -> None:
    await queue_server.stop()
    async with Publisher(queue_server.address, capacity_hints=10) as publisher:
        for number in range(1000):
            publisher.publish([(number, 4)])
        assert len(publisher._waiting) == 10
