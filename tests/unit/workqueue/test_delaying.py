"""Keys that are not due yet."""

from __future__ import annotations

from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item


def drained(queue: DelayingQueue[str], now_us: int) -> list[str]:
    keys = []
    while (handed := queue.get(now_us)) is not None:
        keys.append(handed.item.key)
        queue.done(handed.item.key)
    return keys


def test_a_delayed_key_is_handed_out_when_it_is_due_and_not_before() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add_after(Item("a"), 100, 1000)
    assert queue.next_due_us() == 1100 and queue.delayed == 1 and len(queue) == 0
    assert drained(queue, 1099) == []
    assert drained(queue, 1100) == ["a"]
    assert queue.next_due_us() is None and queue.delayed == 0


def test_a_delay_of_nothing_is_an_add() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add_after(Item("a"), 0, 1000)
    queue.add_after(Item("b"), -5, 1000)
    assert drained(queue, 1000) == ["a", "b"]


def test_the_earliest_of_several_delays_wins_and_the_key_comes_once() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    assert queue.add_after(Item("a", reasons=1), 500, 0)
    assert not queue.add_after(Item("a", reasons=2), 100, 0)
    assert not queue.add_after(Item("a", priority=3, reasons=4), 900, 0)
    assert queue.next_due_us() == 100
    handed = queue.get(100)
    assert handed is not None and handed.item == Item("a", priority=3, reasons=7)
    queue.done("a")
    assert drained(queue, 10_000) == []


def test_an_add_does_not_cancel_a_delay() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add_after(Item("a"), 100, 0)
    queue.add(Item("a"), 0)
    assert drained(queue, 0) == ["a"]
    assert drained(queue, 100) == ["a"]


def test_a_key_that_becomes_due_while_processed_is_processed_again() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add(Item("a"), 0)
    queue.get(0)
    queue.add_after(Item("a"), 10, 0)
    assert queue.get(20) is None
    queue.done("a")
    handed = queue.get(30)
    assert handed is not None and handed.waited_us == 20


def test_due_keys_come_in_the_order_in_which_they_became_due() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    for key, delay in (("c", 30), ("a", 10), ("b", 20), ("d", 30)):
        queue.add_after(Item(key), delay, 0)
    assert drained(queue, 100) == ["a", "b", "c", "d"]


def test_a_wait_counts_from_when_the_key_was_due() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add_after(Item("a"), 100, 0)
    handed = queue.get(130)
    assert handed is not None and handed.waited_us == 30


def test_shutting_down_drops_what_is_not_due() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    queue.add_after(Item("a"), 100, 0)
    queue.add(Item("b"), 0)
    queue.shut_down()
    assert not queue.add_after(Item("c"), 1, 0)
    assert queue.next_due_us() is None
    assert drained(queue, 1000) == ["b"]
    assert queue.ended


def test_delaying_one_key_again_and_again_takes_no_more_room() -> None:
    queue: DelayingQueue[str] = DelayingQueue()
    for delay in range(100_000, 0, -1):
        queue.add_after(Item("a"), delay, 0)
    assert queue.delayed == 1 and len(queue._heap) < 100
    assert queue.next_due_us() == 1
