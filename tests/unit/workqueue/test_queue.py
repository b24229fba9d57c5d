"""The mechanism of one key, one worker. Written after client-go's own tests, with time as an argument."""

from __future__ import annotations

from libs.workqueue.items import Item
from libs.workqueue.queue import WorkQueue


def take(queue: WorkQueue[str], now_us: int = 0) -> str | None:
    handed = queue.get(now_us)
    return None if handed is None else handed.item.key


def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abc":
        queue.add(Item(key), 0)
    assert [take(queue), take(queue), take(queue), take(queue)] == ["a", "b", "c", None]


def test_any_number_of_adds_while_a_key_waits_are_one() -> None:
    queue: WorkQueue[str] = WorkQueue()
    assert queue.add(Item("a"), 0)
    assert not queue.add(Item("a"), 1)
    assert not queue.add(Item("a"), 2)
    assert [take(queue), take(queue)] == ["a", None]
    queue.done("a")
    assert take(queue) is None


def test_a_key_added_while_processed_is_handed_out_again_only_after_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    assert take(queue) == "a"
    queue.add(Item("a"), 1)
    queue.add(Item("a"), 2)
    assert len(queue) == 0 and take(queue) is None
    queue.done("a")
    assert len(queue) == 1 and take(queue) == "a"
    queue.done("a")
    assert take(queue) is None and queue.processing == 0


def test_done_of_a_key_that_nobody_has_changes_nothing() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.done("a")
    queue.add(Item("b"), 0)
    queue.done("b")
    assert len(queue) == 1


def test_a_wait_counts_from_the_first_add() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 10)
    queue.add(Item("a"), 40)
    handed = queue.get(100)
    assert handed is not None and handed.waited_us == 90


def test_a_wait_counts_from_the_add_during_processing_not_from_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    queue.get(5)
    queue.add(Item("a"), 10)
    queue.done("a")
    handed = queue.get(100)
    assert handed is not None and handed.waited_us == 90


def test_collapsing_keeps_the_higher_priority_all_reasons_and_the_first_trace() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a", "p", 1, 0b001, ""), 0)
    queue.add(Item("a", "q", 5, 0b100, "first"), 0)
    queue.add(Item("a", "", 3, 0b010, "second"), 0)
    handed = queue.get(0)
    assert handed is not None and handed.item == Item("a", "p", 5, 0b111, "first")


def test_a_waiting_key_whose_priority_rises_overtakes() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    queue.add(Item("b"), 0)
    queue.add(Item("b", priority=1), 0)
    assert [take(queue), take(queue)] == ["b", "a"]


def test_a_key_whose_priority_rises_while_processed_has_it_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    assert take(queue) == "a"
    queue.add(Item("a"), 0)
    queue.add(Item("a", priority=1), 0)
    queue.add(Item("b"), 0)
    queue.done("a")
    assert [take(queue), take(queue)] == ["a", "b"]


def test_what_is_known_of_a_key_is_forgotten_when_it_is_handed_out() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a", priority=9, reasons=1), 0)
    queue.get(0)
    queue.add(Item("a", reasons=2), 0)
    queue.done("a")
    handed = queue.get(0)
    assert handed is not None and handed.item == Item("a", reasons=2)


def test_shutting_down_hands_out_what_waits_and_takes_nothing_more() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    queue.shut_down()
    assert not queue.add(Item("b"), 0)
    assert queue.shutting_down and queue.drained and not queue.ended
    assert [take(queue), take(queue)] == ["a", None]
    assert queue.ended


def test_draining_lasts_until_all_that_was_handed_out_is_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    take(queue)
    queue.shut_down_with_drain()
    assert queue.ended and not queue.drained
    queue.done("a")
    assert queue.drained


def test_a_key_that_was_dirty_when_the_queue_shut_down_is_still_processed_again() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    take(queue)
    queue.add(Item("a"), 0)
    queue.shut_down_with_drain()
    queue.done("a")
    assert take(queue) == "a"
    assert not queue.drained
    queue.done("a")
    assert queue.drained and queue.ended


def test_a_plain_shut_down_ends_a_drain() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add(Item("a"), 0)
    take(queue)
    queue.shut_down_with_drain()
    queue.shut_down()
    assert queue.drained


def test_the_oldest_wait_is_that_of_the_key_longest_dirty() -> None:
    queue: WorkQueue[str] = WorkQueue()
    assert queue.oldest_us(100) == 0
    queue.add(Item("a"), 10)
    queue.add(Item("b", priority=7), 30)
    assert queue.oldest_us(100) == 90
    queue.get(100)
    assert queue.oldest_us(100) == 90, "b went first"
    queue.get(100)
    assert queue.oldest_us(100) == 0
