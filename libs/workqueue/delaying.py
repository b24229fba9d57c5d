"""A work queue and, before it, the keys that are not due yet.

Per key the earliest due time wins, and what is asked for collapses as in the queue behind. A key may be delayed and
waiting at the same time: an add does not cancel a delay, it only comes before it. `next_due_us` is when the owner has
to look again; nothing here wakes anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic

from libs.workqueue.items import Handed, Item, K
from libs.workqueue.layer import short_cut
from libs.workqueue.queue import WorkQueue

# A key that is delayed again, for earlier, leaves its old place in the heap behind. When most of the heap is such
# places it is rebuilt; below this size that is not worth it.
_REBUILD_ABOVE = 64


class DelayingQueue(Generic[K]):
    """`WorkQueue` with `add_after`."""

    def __init__(self, queue: WorkQueue[K] | None = None) -> None:
        self._queue: WorkQueue[K] = queue if queue is not None else WorkQueue()
        self._delayed: dict[K, tuple[int, Item[K]]] = {}
        """Every delayed key, with the time at which it is due."""
        self._heap: list[tuple[int, int, K]] = []
        """(due time, tie breaker, key) for every delayed key, and left-overs that no longer match `_delayed`."""
        self._pushed = 0
        short_cut(self, DelayingQueue, self._queue, ("is_dirty", "is_processing", "add", "done"))

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def dirty(self) -> int:
        return self._queue.dirty

    @property
    def processing(self) -> int:
        return self._queue.processing

    @property
    def delayed(self) -> int:
        """How many keys are not due yet."""
        return len(self._delayed)

    @property
    def shutting_down(self) -> bool:
        return self._queue.shutting_down

    @property
    def ended(self) -> bool:
        return self._queue.ended

    @property
    def drained(self) -> bool:
        return self._queue.drained

    def is_dirty(self, key: K) -> bool:
        return self._queue.is_dirty(key)

    def is_processing(self, key: K) -> bool:
        return self._queue.is_processing(key)

    def is_delayed(self, key: K) -> bool:
        """Whether `key` is not due yet, so that a delayed add of it would collapse."""
        return key in self._delayed

    def add(self, item: Item[K], now_us: int) -> bool:
        return self._queue.add(item, now_us)

    def add_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        """Adds the item `delay_us` from now; at once when that is not positive. Returns whether its key was unknown.

        If its key is delayed already the earlier time holds for both. Ignored when shutting down.
        """
        if self._queue.shutting_down:
            return False
        if self._queue.observer is not None:
            self._queue.observer.retried(item.key, now_us)
        if delay_us <= 0:
            return self.add(item, now_us)
        due_us = now_us + delay_us
        known = self._delayed.get(item.key)
        if known is None:
            self._delay(due_us, item)
            return True
        if due_us < known[0]:
            self._delay(due_us, known[1].merged(item))
        else:
            self._delayed[item.key] = (known[0], known[1].merged(item))
        return False

    def get(self, now_us: int) -> Handed[K] | None:
        if self._heap:
            self.advance(now_us)
        return self._queue.get(now_us)

    def done(self, key: K, now_us: int | None = None) -> None:
        self._queue.done(key, now_us)

    def advance(self, now_us: int) -> None:
        """Lets what is due wait like everything else. Its wait counts from when it was due."""
        while (due_us := self.next_due_us()) is not None and due_us <= now_us:
            _, _, key = heappop(self._heap)
            _, item = self._delayed.pop(key)
            self._queue.add(item, due_us)

    def next_due_us(self) -> int | None:
        """When the earliest delayed key is due, or None when there is none."""
        while self._heap:
            due_us, _, key = self._heap[0]
            if self._is_due_at(key, due_us):
                return due_us
            heappop(self._heap)
        return None

    def later(self) -> Iterator[tuple[Item[K], int]]:
        """Every delayed key, with the time at which it is due; in no order. The queue must not change meanwhile."""
        for due_us, item in self._delayed.values():
            yield item, due_us

    def oldest_us(self, now_us: int) -> int:
        return self._queue.oldest_us(now_us)

    def shut_down(self) -> None:
        """As `WorkQueue.shut_down`; what is not due yet is dropped."""
        self._queue.shut_down()
        self._drop_delayed()

    def shut_down_with_drain(self) -> None:
        """As `WorkQueue.shut_down_with_drain`; what is not due yet is dropped."""
        self._queue.shut_down_with_drain()
        self._drop_delayed()

    def _is_due_at(self, key: K, due_us: int) -> bool:
        known = self._delayed.get(key)
        return known is not None and known[0] == due_us

    def _delay(self, due_us: int, item: Item[K]) -> None:
        self._delayed[item.key] = (due_us, item)
        self._pushed += 1
        heappush(self._heap, (due_us, self._pushed, item.key))
        if len(self._heap) > 2 * len(self._delayed) + _REBUILD_ABOVE:
            self._heap = [entry for entry in self._heap if self._is_due_at(entry[2], entry[0])]
            heapify(self._heap)

    def _drop_delayed(self) -> None:
        self._delayed.clear()
        self._heap.clear()
