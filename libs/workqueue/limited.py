"""A work queue for keys that fail: coming back costs them a delay that the limiter decides.

`forget` clears what the limiter remembers and nothing else: `done` is still needed, and a delay that has begun goes
on.
"""

from __future__ import annotations

from typing import Generic

from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Handed, Item, K
from libs.workqueue.limiters import Limiter


class RateLimitingQueue(Generic[K]):
    """`DelayingQueue` with `add_limited` and `forget`."""

    def __init__(self, limiter: Limiter[K], queue: DelayingQueue[K] | None = None) -> None:
        self._limiter = limiter
        self._queue: DelayingQueue[K] = queue if queue is not None else DelayingQueue()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def processing(self) -> int:
        return self._queue.processing

    @property
    def delayed(self) -> int:
        return self._queue.delayed

    @property
    def shutting_down(self) -> bool:
        return self._queue.shutting_down

    @property
    def ended(self) -> bool:
        return self._queue.ended

    @property
    def drained(self) -> bool:
        return self._queue.drained

    def add(self, item: Item[K], now_us: int) -> bool:
        return self._queue.add(item, now_us)

    def add_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        return self._queue.add_after(item, delay_us, now_us)

    def add_limited(self, item: Item[K], now_us: int) -> bool:
        """Adds the item as soon as the limiter allows. Returns whether its key was unknown."""
        return self._queue.add_after(item, self._limiter.when_us(item.key, now_us), now_us)

    def forget(self, key: K, now_us: int) -> None:
        """`key` succeeded: its next failure is a first one."""
        self._limiter.forget(key, now_us)

    def retries(self, key: K) -> int:
        """How often `key` was limited since it was last forgotten."""
        return self._limiter.retries(key)

    def get(self, now_us: int) -> Handed[K] | None:
        return self._queue.get(now_us)

    def done(self, key: K) -> None:
        self._queue.done(key)

    def advance(self, now_us: int) -> None:
        self._queue.advance(now_us)

    def next_due_us(self) -> int | None:
        return self._queue.next_due_us()

    def oldest_us(self, now_us: int) -> int:
        return self._queue.oldest_us(now_us)

    def shut_down(self) -> None:
        self._queue.shut_down()

    def shut_down_with_drain(self) -> None:
        self._queue.shut_down_with_drain()
