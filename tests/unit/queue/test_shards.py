"""Who has which key, with time as an argument and no stream around it."""

from __future__ import annotations

import itertools

import pytest

from libs.workflow import errors
from libs.workqueue.items import Item
from services.queue.line import Shape
from services.queue.shards import Shard, Shards, Wanted, WorkStream

PLENTY = 1000


def shard_with(*keys: int) -> Shard:
    shard = Shard(0, itertools.count(1))
    for key in keys:
        shard.add(Item(key), 0, 0)
    return shard


def opened(shard: Shard, epoch: int = 1, credits: int = PLENTY) -> WorkStream:
    stream = shard.open(epoch, "p", 0)
    stream.add_credits(credits)
    return stream


def taken(stream: WorkStream, now_us: int = 0) -> list[int]:
    return [lease.key.key for lease in stream.take(now_us)]


def test_everything_that_is_due_is_leased_at_once() -> None:
    assert taken(opened(shard_with(1, 2, 3))) == [1, 2, 3]


def test_no_more_is_leased_than_there_are_credits_and_a_lease_that_ends_gives_its_credit_back() -> None:
    stream = opened(shard_with(1, 2, 3), credits=2)
    first, _ = stream.take(0)
    assert taken(stream) == []
    stream.done(first.number, 0)
    assert taken(stream) == [3]
    stream.add_credits(1)
    assert taken(stream) == [] and stream.leased == 2


def test_a_leased_key_is_not_leased_again_until_it_is_done() -> None:
    shard = shard_with(1)
    stream = opened(shard)
    (lease,) = stream.take(0)
    shard.add(Item(1), 0, 0)
    assert taken(stream) == []
    stream.done(lease.number, 0)
    assert taken(stream) == [1]


def test_retry_hands_a_key_back_for_later_with_all_that_is_known_of_it() -> None:
    shard = Shard(0, itertools.count(1))
    shard.add(Item(1, "project", 5, 3, "trace"), 0, 0)
    stream = opened(shard)
    (lease,) = stream.take(0)
    stream.retry(lease.number, 100, 10)
    assert taken(stream, 109) == []
    (again,) = stream.take(115)
    assert again.key == Item(1, "project", 5, 3, "trace") and again.waited_us == 5 and again.number != lease.number


def test_what_is_said_about_a_lease_that_is_over_is_ignored() -> None:
    shard = shard_with(1)
    stream = opened(shard)
    (lease,) = stream.take(0)
    stream.done(lease.number, 0)
    shard.add(Item(1), 0, 0)
    (again,) = stream.take(0)
    stream.done(lease.number, 0)
    stream.retry(lease.number, 0, 0)
    stream.done(424242, 0)
    assert stream.leased == 1 and shard.queue.processing == 1 and again.number != lease.number


def test_a_stream_that_closes_gives_its_keys_to_the_next_one() -> None:
    shard = shard_with(1, 2, 3)
    stream = opened(shard, credits=2)
    assert taken(stream) == [1, 2]
    shard.close(stream, 0)
    assert sorted(taken(opened(shard))) == [1, 2, 3]
    assert shard.counts.delivered == 5 and shard.counts.redelivered == 2


def test_a_higher_epoch_takes_over_the_leases_of_the_lower_one() -> None:
    shard = shard_with(1, 2)
    old = opened(shard, epoch=1)
    (first, _) = old.take(0)
    new = opened(shard, epoch=2)
    assert taken(new) == [1, 2]
    old.done(first.number, 0)
    assert shard.queue.processing == 2, "a revoked lease says nothing about the new one"
    with pytest.raises(errors.FailedPrecondition, match="opened with epoch 2, 1 is over"):
        old.take(0)
    shard.close(old, 0)
    assert shard.stream is new and new.leased == 2


def test_a_lower_epoch_is_refused_even_after_the_higher_ones_stream_has_closed() -> None:
    shard = shard_with(1)
    shard.close(opened(shard, epoch=7), 0)
    with pytest.raises(errors.FailedPrecondition, match="epoch: shard 0 has been opened with epoch 7, 6 is over"):
        shard.open(6, "late", 0)
    assert taken(opened(shard, epoch=7)) == [1]


def test_the_same_epoch_may_open_again_and_ends_its_own_older_stream() -> None:
    # After a network failure the leader is back before this side has noticed that the old stream is dead.
    shard = shard_with(1)
    old = opened(shard, epoch=3)
    assert taken(old) == [1]
    new = opened(shard, epoch=3)
    assert taken(new) == [1]
    with pytest.raises(errors.Unavailable):
        old.take(0)


def test_a_shard_is_served_in_the_order_of_priorities_and_lanes() -> None:
    shard = Shard(0, itertools.count(1))
    for key, lane, priority in ((1, "a", 0), (2, "a", 0), (3, "b", 0), (4, "a", 9)):
        shard.add(Item(key, lane, priority), 0, 0)
    assert taken(opened(shard)) == [4, 1, 3, 2]


def test_counts_tell_new_keys_from_duplicates() -> None:
    shard = shard_with(1, 1, 2, 1)
    assert (shard.counts.added, shard.counts.collapsed) == (4, 2)


def test_beyond_its_depth_the_queue_takes_nothing_whatever_the_shard() -> None:
    shards = Shards(depth=3, first_lease=1)
    shards.add([Wanted(0, Item(1), 0), Wanted(1, Item(2), 500)], 0)
    with pytest.raises(errors.ResourceExhausted, match="3 keys wait in the queue"):
        shards.add([Wanted(0, Item(3), 0), Wanted(0, Item(4), 0)], 0)
    assert [shard.depth for shard in shards] == [2, 1]


def test_a_full_queue_takes_keys_back_from_leases_and_new_ones_once_there_is_room() -> None:
    shards = Shards(depth=1, first_lease=1)
    shards.add([Wanted(0, Item(1), 0)], 0)
    stream = opened(shards[0])
    (lease,) = stream.take(0)
    shards.add([Wanted(0, Item(2), 0)], 0)
    stream.retry(lease.number, 0, 0)
    assert shards[0].depth == 2
    assert taken(stream) == [2, 1]
    shards.add([Wanted(0, Item(3), 0)], 0)


def test_a_full_queue_never_refuses_a_key_that_waits_already_or_that_somebody_has() -> None:
    shards = Shards(depth=1, first_lease=1)
    shards.add([Wanted(0, Item(1), 0)], 0)
    opened(shards[0]).take(0)
    shards.add([Wanted(0, Item(2), 0)], 0)
    shards.add([Wanted(0, Item(1), 0), Wanted(0, Item(2), 0)], 0)
    assert shards.depth == 1
    with pytest.raises(errors.ResourceExhausted) as refused:
        shards.add([Wanted(0, Item(2), 0), Wanted(0, Item(3), 0)], 0)
    assert refused.value.retry_after_us == 1_000_000


def test_done_forgets_how_often_a_key_came_back_and_retry_waits_ever_longer() -> None:
    shard = Shard(0, itertools.count(1), Shape(limiter="expfailure", base_delay_us=10, max_delay_us=100))
    shard.add(Item(1), 0, 0)
    stream = opened(shard)
    (lease,) = stream.take(0)
    for wait in (10, 20, 40):
        now = shard.queue.next_due_us() or 0
        stream.retry(lease.number, 0, now)
        assert shard.queue.next_due_us() == now + wait
        (lease,) = stream.take(now + wait)
    stream.retry(lease.number, 500, 1000)
    assert shard.queue.next_due_us() == 1500, "whoever had it asks for more than the limiter"
    (lease,) = stream.take(1500)
    stream.done(lease.number, 1500)
    assert shard.queue.retries(1) == 0


def test_in_batches_keys_move_at_the_tick_as_many_as_a_batch_holds() -> None:
    shard = Shard(0, itertools.count(1), Shape(kind="batch", interval_us=100, batch_size=2))
    stream = opened(shard)
    assert taken(stream, 10) == []
    for key in (1, 2, 3):
        shard.add(Item(key), 0, 20)
    assert taken(stream, 99) == [] and (shard.queue.gathering, shard.depth) == (3, 3)
    assert taken(stream, 100) == [1, 2]
    assert taken(stream, 200) == [3]


def test_lease_numbers_are_never_used_twice_in_any_shard() -> None:
    shards = Shards(depth=10, first_lease=100)
    shards.add([Wanted(shard, Item(1), 0) for shard in range(3)], 0)
    numbers = [lease.number for shard in range(3) for lease in opened(shards[shard]).take(0)]
    assert sorted(numbers) == [100, 101, 102]


async def test_a_waiting_stream_wakes_for_a_new_key_for_a_due_one_and_for_its_own_end() -> None:
    shard = shard_with()
    stream = opened(shard)
    assert taken(stream) == []
    shard.add(Item(1), 0, 0)
    await stream.wait(0)
    assert taken(stream) == [1]
    shard.add(Item(2), 10_000, 0)
    stream.take(0)
    await stream.wait(0)
    assert taken(stream, 10_000) == [2]
    shard.close(stream, 0)
    await stream.wait(0)
    with pytest.raises(errors.Unavailable):
        stream.take(0)
