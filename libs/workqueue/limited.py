"""A work queue for keys that fail: coming back costs them a delay that the limiter decides.

`forget` clears what the limiter remembers and nothing else: `done` is still needed, and a delay that has begun goes
on.
"""

from __future__ import annotations

from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item, K
from libs.workqueue.layer import Layer, Queue, short_cut
from libs.workqueue.limiters import Limiter


class RateLimitingQueue(Layer[K]):
    """A queue with `add_limited` and `forget`."""

    def __init__(self, limiter: Limiter[K], queue: Queue[K] | None = None) -> None:
        super().__init__(queue if queue is not None else DelayingQueue())
        self._limiter = limiter
        short_cut(self, RateLimitingQueue, limiter, ("forget", "retries"))

    def add_limited(self, item: Item[K], now_us: int, *, at_least_us: int = 0) -> bool:
        """Adds the item as soon as the limiter allows, and not before `at_least_us` from now. Returns whether its key
        was unknown."""
        return self.add_after(item, max(self._limiter.when_us(item.key, now_us), at_least_us), now_us)

    def forget(self, key: K, now_us: int) -> None:
        """`key` succeeded: its next failure is a first one."""
        self._limiter.forget(key, now_us)

    def retries(self, key: K) -> int:
        """How often `key` was limited since it was last forgotten."""
        return self._limiter.retries(key)
