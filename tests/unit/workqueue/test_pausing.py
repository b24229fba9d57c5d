"""A queue that can be stopped for a while."""

from __future__ import annotations

import pytest

from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import Undelayed
from libs.workqueue.pausing import PausableQueue


def paused(ttl_us: int = 100) -> PausableQueue[str]:
    """Paused at 0, with a key that waits."""
    queue: PausableQueue[str] = PausableQueue(DelayingQueue())
    queue.add(Item("a"), 0)
    queue.pause(ttl_us, 0)
    return queue


def test_a_paused_queue_takes_keys_and_hands_none_out() -> None:
    queue = paused()
    assert queue.add(Item("b"), 10) and not queue.add(Item("a"), 10)
    assert queue.get(99) is None and len(queue) == 2 and queue.paused_us(99) == 1


def test_a_pause_ends_by_itself_and_the_queue_says_when_to_look() -> None:
    queue = paused()
    assert queue.next_due_us() == 100
    handed = queue.get(100)
    assert handed is not None and handed.waited_us == 100
    assert queue.paused_us(100) == 0 and queue.next_due_us() is None


def test_resuming_hands_out_at_once() -> None:
    queue = paused()
    queue.resume()
    assert queue.get(1) is not None


def test_resuming_a_queue_that_is_not_paused_changes_nothing() -> None:
    queue: PausableQueue[str] = PausableQueue(DelayingQueue())
    queue.resume()
    assert queue.paused_us(0) == 0


@pytest.mark.parametrize(("ttl_us", "until_us"), [(10, 60), (1000, 1050)])
def test_a_new_pause_replaces_the_one_before(ttl_us: int, until_us: int) -> None:
    queue = paused()
    queue.pause(ttl_us, 50)
    assert queue.get(until_us - 1) is None and queue.get(until_us) is not None


def test_what_was_handed_out_before_a_pause_can_be_finished_in_it() -> None:
    queue: PausableQueue[str] = PausableQueue(DelayingQueue())
    queue.add(Item("a"), 0)
    queue.get(0)
    queue.pause(100, 0)
    queue.add(Item("a"), 1)
    queue.done("a")
    assert queue.processing == 0 and len(queue) == 1 and queue.get(2) is None


def test_a_delay_that_ends_in_a_pause_ends_then_and_its_key_waits_for_the_end_of_the_pause() -> None:
    queue: PausableQueue[str] = PausableQueue(DelayingQueue())
    queue.add_after(Item("a"), 30, 0)
    queue.pause(100, 0)
    assert queue.next_due_us() == 30 and queue.get(30) is None and len(queue) == 1
    assert queue.next_due_us() == 100
    handed = queue.get(100)
    assert handed is not None and handed.waited_us == 70


def test_a_delay_that_ends_after_a_pause_is_looked_at_when_it_ends() -> None:
    queue: PausableQueue[str] = PausableQueue(DelayingQueue())
    queue.add_after(Item("a"), 300, 0)
    queue.pause(100, 0)
    assert queue.next_due_us() == 300


def test_a_pause_of_an_empty_queue_wakes_nobody() -> None:
    queue: PausableQueue[str] = PausableQueue(DelayingQueue())
    queue.pause(100, 0)
    assert queue.next_due_us() is None


@pytest.mark.parametrize("drain", [False, True])
def test_shutting_down_ends_a_pause_and_no_other_begins(drain: bool) -> None:
    queue = paused()
    queue.shut_down_with_drain() if drain else queue.shut_down()
    queue.pause(1000, 1)
    assert queue.get(1) is not None and queue.ended


@pytest.mark.parametrize("ttl_us", [0, -1])
def test_a_pause_without_an_end_to_come_is_refused(ttl_us: int) -> None:
    with pytest.raises(ValueError, match="ttl_us"):
        paused(ttl_us)


def test_a_pause_holds_below_a_limiter_too() -> None:
    inner = paused()
    queue = RateLimitingQueue(Undelayed(), inner)
    queue.add_limited(Item("b"), 1)
    assert queue.get(1) is None and queue.next_due_us() == 100
