"""A queue that says no."""

from __future__ import annotations

import pytest

from libs.workflow import errors
from libs.workqueue.bounded import BoundedQueue
from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import ItemExponential


class QueueFull(errors.ResourceExhausted):
    """What an owner makes of a refusal."""

    def __init__(self, message: str, retry_after_us: int) -> None:
        super().__init__(message)
        self.retry_after_us = retry_after_us


def bounded(depth: int) -> BoundedQueue[str]:
    return BoundedQueue(DelayingQueue(), depth, QueueFull, retry_after_us=250_000)


def test_one_key_too_many_is_refused_with_the_owners_error_and_a_hint() -> None:
    queue = bounded(2)
    queue.add(Item("a"), 0)
    queue.add_after(Item("b"), 10, 0)
    with pytest.raises(errors.ResourceExhausted, match=r"depth: 2 keys wait.*try again in 0\.25 s") as refused:
        queue.add(Item("c"), 0)
    assert isinstance(refused.value, QueueFull) and refused.value.retry_after_us == 250_000
    assert queue.dirty == 1 and queue.delayed == 1 and queue.room == 0


def test_an_add_that_collapses_is_never_refused() -> None:
    queue = bounded(2)
    queue.add(Item("a"), 0)
    queue.add_after(Item("b"), 10, 0)
    assert not queue.add(Item("a", priority=1), 0)
    assert not queue.add_after(Item("b"), 5, 0)
    assert not queue.add_after(Item("a"), 0, 0)


def test_a_key_that_waits_and_is_delayed_takes_two_places() -> None:
    queue = bounded(1)
    queue.add(Item("a"), 0)
    with pytest.raises(QueueFull):
        queue.add_after(Item("a"), 10, 0)
    other = bounded(1)
    other.add_after(Item("a"), 10, 0)
    with pytest.raises(QueueFull):
        other.add(Item("a"), 0)


def test_a_delay_that_collapses_into_what_waits_frees_its_place() -> None:
    queue = bounded(2)
    queue.add(Item("a"), 0)
    queue.add_after(Item("a"), 10, 0)
    assert queue.add(Item("b"), 10)


def test_handing_out_frees_a_place() -> None:
    queue = bounded(1)
    queue.add(Item("a"), 0)
    queue.get(0)
    assert queue.room == 1 and queue.add(Item("b"), 0)


def test_a_key_that_is_processed_can_always_be_put_back() -> None:
    queue = bounded(1)
    queue.add(Item("a"), 0)
    queue.get(0)
    queue.add(Item("b"), 0)
    assert queue.add(Item("a"), 0) and queue.add_after(Item("a"), 10, 0)
    queue.done("a")
    assert len(queue) == 2 and queue.delayed == 1 and queue.room == 0
    with pytest.raises(QueueFull):
        queue.add(Item("c"), 0)


def test_a_limited_add_is_refused_as_any_other() -> None:
    inner = bounded(1)
    queue = RateLimitingQueue(ItemExponential(10, 100), inner)
    queue.add_limited(Item("a"), 0)
    with pytest.raises(QueueFull):
        queue.add_limited(Item("b"), 0)
    assert queue.retries("b") == 1


def test_a_full_queue_that_shuts_down_ignores_adds_instead_of_refusing() -> None:
    queue = bounded(1)
    queue.add(Item("a"), 0)
    queue.shut_down()
    assert not queue.add(Item("b"), 0)


def test_a_queue_without_places_or_with_a_useless_hint_is_refused() -> None:
    with pytest.raises(ValueError, match="depth"):
        BoundedQueue(DelayingQueue[str](), 0, QueueFull)
    with pytest.raises(ValueError, match="retry_after_us"):
        BoundedQueue(DelayingQueue[str](), 1, QueueFull, retry_after_us=0)
