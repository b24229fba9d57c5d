"""Two queues, one of which is emptied into the other in batches."""

from __future__ import annotations

import pytest

from libs.workqueue.bounded import BoundedQueue
from libs.workqueue.composite import BatchingQueue, CompositeQueue, SimpleQueue, composite
from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import ItemExponential, Limiter, Undelayed


def batching(batch_size: int = -1, main: Limiter[str] | None = None) -> BatchingQueue[str]:
    """Ticks at 0, 100, 200, …; the first is over."""
    queue: BatchingQueue[str] = BatchingQueue(
        main or Undelayed(), RateLimitingQueue(ItemExponential(10, 80)), 0, interval_us=100, batch_size=batch_size
    )
    queue.advance(0)
    return queue


def taken(queue: CompositeQueue[str], now_us: int) -> list[str]:
    keys = []
    while (handed := queue.get(now_us)) is not None:
        keys.append(handed.item.key)
        queue.done(handed.item.key)
    return keys


def test_a_simple_queue_takes_what_is_for_the_sub_queue_itself() -> None:
    queue: SimpleQueue[str] = SimpleQueue(ItemExponential(10, 80))
    queue.add_to_sub(Item("a"), 0)
    queue.add_to_sub_limited(Item("b"), 0)
    queue.add_to_sub_after(Item("c"), 20, 0)
    assert queue.in_sub == 0 and queue.retries("b") == 1
    assert [taken(queue, 0), taken(queue, 10), taken(queue, 20)] == [["a"], ["b"], ["c"]]


def test_what_is_added_to_the_main_queue_does_not_wait_for_a_batch() -> None:
    queue = batching()
    queue.add(Item("a"), 1)
    assert taken(queue, 1) == ["a"]


def test_what_is_added_to_the_sub_queue_comes_with_the_next_batch() -> None:
    queue = batching()
    queue.add_to_sub(Item("a"), 1)
    queue.add_to_sub(Item("b"), 50)
    queue.add_to_sub(Item("a"), 99)
    assert queue.next_due_us() == 100 and queue.in_sub == 2 and len(queue) == 0
    assert taken(queue, 99) == []
    assert taken(queue, 100) == ["a", "b"]
    assert queue.in_sub == 0 and queue.next_due_us() is None


def test_what_comes_at_a_tick_waits_for_the_next_one() -> None:
    queue = batching()
    queue.add_to_sub(Item("a"), 100)
    assert queue.next_due_us() == 200


def test_the_first_batch_is_due_at_the_start() -> None:
    queue: CompositeQueue[str] = composite("batch", 1000)
    queue.add_to_sub(Item("a"), 999)
    assert queue.next_due_us() == 1000 and taken(queue, 1000) == ["a"]


def test_ticks_go_on_while_there_is_nothing_to_move() -> None:
    queue = batching()
    queue.add_to_sub(Item("a"), 1050)
    assert queue.next_due_us() == 1100


def test_a_late_batch_is_not_made_up_for() -> None:
    queue = batching(batch_size=1)
    for key in "abc":
        queue.add_to_sub(Item(key), 1)
    assert taken(queue, 250) == ["a"]
    assert queue.next_due_us() == 300


def test_what_becomes_due_after_a_tick_is_not_in_its_batch_however_late_that_is() -> None:
    queue = batching()
    queue.add_to_sub_after(Item("a"), 99, 1)
    queue.add_to_sub_after(Item("b"), 119, 1)
    assert taken(queue, 150) == ["a"]
    assert queue.next_due_us() == 200 and taken(queue, 200) == ["b"]


def test_a_batch_is_no_larger_than_its_size() -> None:
    queue = batching(batch_size=2)
    for key in "abc":
        queue.add_to_sub(Item(key), 1)
    assert taken(queue, 100) == ["a", "b"]
    assert queue.next_due_us() == 200 and taken(queue, 200) == ["c"]


def test_what_moves_pays_what_the_main_queues_limiter_says() -> None:
    queue = batching(main=ItemExponential(30, 1000))
    queue.add_to_sub(Item("a"), 1)
    queue.advance(100)
    assert queue.delayed == 1 and queue.retries("a") == 1 and queue.next_due_us() == 130
    assert taken(queue, 130) == ["a"]


def test_a_delay_in_the_sub_queue_is_over_before_the_batch_takes_the_key() -> None:
    queue = batching()
    queue.add_to_sub_after(Item("a"), 149, 1)
    assert queue.next_due_us() == 200
    queue.add_to_sub_after(Item("b"), 99, 1)
    assert queue.next_due_us() == 100
    assert [taken(queue, 100), taken(queue, 199), taken(queue, 200)] == [["b"], [], ["a"]]


def test_a_key_that_has_moved_is_forgotten_by_the_sub_queues_limiter() -> None:
    queue = batching()
    for at_us in (0, 200, 400):
        queue.add_to_sub_limited(Item("a"), at_us)
        assert queue.next_due_us() == at_us + 100
        queue.advance(at_us + 100)
    assert queue._sub.retries("a") == 0 and queue._sub.processing == 0


def test_a_key_that_comes_by_both_ways_is_handed_out_to_one_worker() -> None:
    queue = batching()
    queue.add(Item("a"), 0)
    assert queue.get(0) is not None
    queue.add_to_sub(Item("a"), 1)
    assert queue.get(100) is None and queue.dirty == 1
    queue.done("a")
    assert taken(queue, 100) == ["a"]


def test_reasons_and_lanes_move_with_the_key() -> None:
    queue = batching()
    item = Item("a", "project", 3, 5, "trace")
    queue.add_to_sub(item, 1)
    handed = queue.get(100)
    assert handed is not None and handed.item == item


def test_shutting_down_shuts_both_and_drops_what_is_in_the_sub_queue() -> None:
    queue = batching()
    queue.add(Item("a"), 1)
    queue.add_to_sub(Item("b"), 1)
    queue.shut_down()
    assert not queue.add_to_sub(Item("c"), 2) and not queue.add(Item("d"), 2)
    assert queue.next_due_us() is None and queue.in_sub == 0
    assert taken(queue, 100) == ["a"]
    assert queue.ended and queue.drained


def test_a_drain_waits_for_what_was_handed_out() -> None:
    queue = batching()
    queue.add(Item("a"), 1)
    queue.get(1)
    queue.add_to_sub(Item("b"), 1)
    queue.shut_down_with_drain()
    assert not queue.drained
    queue.done("a")
    assert queue.drained and taken(queue, 100) == []


def test_a_key_that_the_main_queue_refuses_waits_for_the_next_batch() -> None:
    bounded: BoundedQueue[str] = BoundedQueue(DelayingQueue(), 1, lambda message, _: RuntimeError(message))
    queue = BatchingQueue(Undelayed(), RateLimitingQueue(Undelayed()), 100, interval_us=100, queue=bounded)
    queue.add_to_sub(Item("a"), 1)
    queue.add_to_sub(Item("b"), 1)
    with pytest.raises(RuntimeError, match="depth"):
        queue.get(100)
    assert taken(queue, 100) == ["a"]
    assert queue.next_due_us() == 200 and taken(queue, 200) == ["b"]


def test_a_batching_queue_by_name_has_flytepropellers_defaults() -> None:
    queue: CompositeQueue[str] = composite("batch", 0)
    queue.advance(0)
    queue.add_to_sub_limited(Item("a"), 1)
    assert queue.next_due_us() == 1_000_000 and taken(queue, 1_000_000) == ["a"]


def test_a_simple_queue_by_name_has_no_sub_queue() -> None:
    queue: CompositeQueue[str] = composite("simple", 0)
    queue.add_to_sub(Item("a"), 1)
    assert queue.in_sub == 0 and taken(queue, 1) == ["a"]


@pytest.mark.parametrize(("interval_us", "batch_size", "named"), [(0, -1, "interval_us"), (1, 0, "batch_size")])
def test_batches_that_would_never_move_anything_are_refused(interval_us: int, batch_size: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        composite("batch", 0, interval_us=interval_us, batch_size=batch_size)


def test_a_kind_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="kind: there is no composite queue 'fast', only simple, batch"):
        composite("fast", 0)  # type: ignore[arg-type]
