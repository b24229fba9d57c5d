"""A queue that says no, and when to ask again.

* A key that would take a place when `depth` places are taken is refused: the queue is unchanged, the caller knows. A
  key takes one place while it needs processing and one while it is delayed.
* An add that would collapse takes no place and is never refused.
* A key that is being processed is never refused: who failed can put it back. It must do so before `done`.

So there are never more than `depth` keys beside the most that were ever processed at once.

Not promised: room after the time in the hint, nor that who was refused first is let in first. A limited add that is
refused has been counted by the limiter, and has cost its token.
"""

from __future__ import annotations

from collections.abc import Callable

from libs.workqueue.items import Item, K
from libs.workqueue.layer import Layer, Queue

RETRY_AFTER_US = 1_000_000
"""Long enough that many who are refused and ask again cost little, short enough that room is not left unused."""

Refusal = Callable[[str, int], Exception]
"""Makes the error of a refusal: from a message for people, which has the hint, and from the hint in microseconds."""


class BoundedQueue(Layer[K]):
    """A queue whose adds may be refused.

    Args:
        depth: how many places there are.
        refusal: makes what is raised. The owner decides, because it knows who has to understand it.
        retry_after_us: the hint.
    """

    def __init__(self, queue: Queue[K], depth: int, refusal: Refusal, *, retry_after_us: int = RETRY_AFTER_US) -> None:
        if depth < 1:
            raise ValueError(f"depth: a queue needs at least one place, not {depth}")
        if retry_after_us <= 0:
            raise ValueError(f"retry_after_us: must be positive, not {retry_after_us} µs")
        super().__init__(queue)
        self._depth = depth
        self._refusal = refusal
        self._retry_after_us = retry_after_us

    @property
    def room(self) -> int:
        """How many places are free."""
        return max(self._depth - self.dirty - self.delayed, 0)

    def add(self, item: Item[K], now_us: int) -> bool:
        """As the queue inside. Raises the refusal when there is no room."""
        self._let_in(item.key, self.is_dirty, now_us)
        return super().add(item, now_us)

    def add_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        """As the queue inside. Raises the refusal when there is no room."""
        self._let_in(item.key, self.is_delayed if delay_us > 0 else self.is_dirty, now_us)
        return super().add_after(item, delay_us, now_us)

    def _let_in(self, key: K, collapses: Callable[[K], bool], now_us: int) -> None:
        # What has become due may have collapsed into what waits, which frees its place.
        self.advance(now_us)
        if self.room or self.shutting_down or self.is_processing(key) or collapses(key):
            return
        seconds = self._retry_after_us / 1_000_000
        raise self._refusal(
            f"depth: {self._depth} keys wait, the queue takes no more; try again in {seconds:g} s",
            self._retry_after_us,
        )
