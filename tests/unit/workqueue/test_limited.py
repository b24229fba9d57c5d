"""Keys that fail and come back."""

from __future__ import annotations

import pytest

from libs.workqueue.items import Item
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import ItemExponential


def test_each_return_of_a_key_doubles_its_wait_up_to_the_cap() -> None:
    limiter: ItemExponential[str] = ItemExponential(5, 60)
    assert [limiter.when_us("a", 0) for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert limiter.retries("a") == 6


def test_keys_do_not_pay_for_each_other() -> None:
    limiter: ItemExponential[str] = ItemExponential(5, 60)
    limiter.when_us("a", 0)
    assert limiter.when_us("b", 0) == 5


def test_a_forgotten_key_starts_again() -> None:
    limiter: ItemExponential[str] = ItemExponential(5, 60)
    limiter.when_us("a", 0)
    limiter.when_us("a", 0)
    limiter.forget("a", 0)
    assert limiter.retries("a") == 0 and limiter.when_us("a", 0) == 5


def test_a_key_that_comes_back_for_ever_waits_the_cap() -> None:
    limiter: ItemExponential[str] = ItemExponential(1, 1000)
    for _ in range(10_000):
        wait = limiter.when_us("a", 0)
    assert wait == 1000


@pytest.mark.parametrize(("base", "cap"), [(0, 10), (-1, 10), (11, 10)])
def test_a_limiter_that_could_never_slow_down_is_refused(base: int, cap: int) -> None:
    with pytest.raises(ValueError, match="base must be positive"):
        ItemExponential(base, cap)


def test_a_limited_add_is_delayed_by_what_the_limiter_says() -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(ItemExponential(100, 1000))
    queue.add_limited(Item("a"), 0)
    assert queue.get(99) is None and queue.delayed == 1
    assert queue.get(100) is not None
    queue.add_limited(Item("a"), 100)
    queue.done("a")
    assert queue.next_due_us() == 300


def test_forgetting_neither_hands_back_nor_cancels() -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(ItemExponential(100, 1000))
    queue.add(Item("a"), 0)
    queue.get(0)
    queue.add_limited(Item("a"), 0)
    queue.forget("a", 0)
    assert queue.processing == 1 and queue.delayed == 1 and queue.retries("a") == 0
