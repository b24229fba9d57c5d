"""Two sources of work, one queue: FlytePropeller's composite queue, with time as an argument.

A key is asked for by what it is itself (the *main* queue), or because something below it has changed (the
*sub-queue*). There can be very many of the latter: a batch makes one turn of them where each would be a turn.

* `simple`: the sub-queue is the main queue.
* `batch`: at every tick what waits in the sub-queue, up to the batch size, moves to the main queue, where each key
  costs what the main queue's limiter says. If the batch is large enough, a key moves at most one interval after it was
  added or its delay was over.

`get` hands out of the main queue only, so one key, one worker holds for both together. `next_due_us` says when the next
batch is due, if there is anything for it. A batch that comes late is not made up for: the next is at the next tick.

Shutting down shuts both; what is in the sub-queue is not due yet, and is dropped as delays are.

Not promised: that an add to the sub-queue comes after an add to the main queue that was made before it, or the reverse.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from libs.workqueue.items import Handed, Item, K
from libs.workqueue.kinds import limiter
from libs.workqueue.layer import Queue
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import Limiter

CompositeKind = Literal["simple", "batch"]

# `queue` in FlytePropeller's pkg/controller/config/config.go.
KIND: CompositeKind = "batch"
BATCHING_INTERVAL_US = 1_000_000

WHAT_IS_QUEUED = -1
"""Batch size: all that wait in the sub-queue when the batch is due. FlytePropeller's default."""


class CompositeQueue(Queue[K], Protocol[K]):
    """A rate-limiting queue that can also be added to by way of a sub-queue."""

    def add_limited(self, item: Item[K], now_us: int, *, at_least_us: int = 0) -> bool:
        """Adds to the main queue as soon as its limiter allows, and not before `at_least_us` from now."""

    def forget(self, key: K, now_us: int) -> None:
        """`key` succeeded: for the main queue's limiter its next failure is a first one."""

    def retries(self, key: K) -> int:
        """How often `key` was limited in the main queue since it was last forgotten."""

    @property
    def in_sub(self) -> int:
        """How many keys wait in the sub-queue or are delayed there; none once it is shut down."""

    def add_to_sub(self, item: Item[K], now_us: int) -> bool:
        """Adds to the sub-queue, not limited."""

    def add_to_sub_limited(self, item: Item[K], now_us: int) -> bool:
        """Adds to the sub-queue as soon as its limiter allows."""

    def add_to_sub_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        """Adds to the sub-queue `delay_us` from now."""


class SimpleQueue(RateLimitingQueue[K]):
    """A composite queue without a sub-queue."""

    @property
    def in_sub(self) -> int:
        return 0

    def add_to_sub(self, item: Item[K], now_us: int) -> bool:
        return self.add(item, now_us)

    def add_to_sub_limited(self, item: Item[K], now_us: int) -> bool:
        return self.add_limited(item, now_us)

    def add_to_sub_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        return self.add_after(item, delay_us, now_us)


class BatchingQueue(RateLimitingQueue[K]):
    """A composite queue whose sub-queue is emptied in batches.

    Args:
        limiter: the main queue's.
        sub: the sub-queue, this queue's own.
        start_us: the first tick; the others follow at every interval.
        interval_us: from tick to tick.
        batch_size: how many keys move at a tick at most.
        queue: what the main queue is around. If it refuses a key of a batch, the key waits in the sub-queue again and
            whoever told the time gets the error: rather bound the sub-queue.
    """

    def __init__(
        self,
        limiter: Limiter[K],
        sub: RateLimitingQueue[K],
        start_us: int,
        *,
        interval_us: int = BATCHING_INTERVAL_US,
        batch_size: int = WHAT_IS_QUEUED,
        queue: Queue[K] | None = None,
    ) -> None:
        if interval_us <= 0:
            raise ValueError(f"interval_us: must be positive, not {interval_us} µs")
        if batch_size < 1 and batch_size != WHAT_IS_QUEUED:
            raise ValueError(f"batch_size: must be at least 1, or {WHAT_IS_QUEUED} for all, not {batch_size}")
        super().__init__(limiter, queue)
        self._sub = sub
        self._interval_us = interval_us
        self._batch_size = batch_size
        self._tick_us = start_us
        """The next tick: after every time that has been told."""

    @property
    def in_sub(self) -> int:
        return 0 if self._sub.shutting_down else len(self._sub) + self._sub.delayed

    def add_to_sub(self, item: Item[K], now_us: int) -> bool:
        self.advance(now_us)
        return self._sub.add(item, now_us)

    def add_to_sub_limited(self, item: Item[K], now_us: int) -> bool:
        self.advance(now_us)
        return self._sub.add_limited(item, now_us)

    def add_to_sub_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        self.advance(now_us)
        return self._sub.add_after(item, delay_us, now_us)

    def get(self, now_us: int) -> Handed[K] | None:
        self.advance(now_us)
        return super().get(now_us)

    def advance(self, now_us: int) -> None:
        """Does what is due, the batch among it."""
        if self._tick_us <= now_us:
            self._tick_us = self._tick_after(now_us)
            self._move_batch(now_us)
        self._sub.advance(now_us)
        super().advance(now_us)

    def next_due_us(self) -> int | None:
        """The earlier of what the main queue says and the next batch that will find something."""
        return min((due for due in (super().next_due_us(), self._next_batch_us()) if due is not None), default=None)

    def shut_down(self) -> None:
        self._sub.shut_down()
        super().shut_down()

    def shut_down_with_drain(self) -> None:
        self._sub.shut_down()
        super().shut_down_with_drain()

    def _next_batch_us(self) -> int | None:
        if self._sub.shutting_down:
            return None
        if len(self._sub):
            return self._tick_us
        due_us = self._sub.next_due_us()
        return None if due_us is None else max(self._tick_us, self._tick_after(due_us - 1))

    def _tick_after(self, time_us: int) -> int:
        """The first tick after `time_us`."""
        return time_us + self._interval_us - (time_us - self._tick_us) % self._interval_us

    def _move_batch(self, now_us: int) -> None:
        if self._sub.shutting_down:
            return
        # Up to the tick, which may have been a while ago: what has become due since then is for the next batch.
        self._sub.advance(self._tick_us - self._interval_us)
        waiting = len(self._sub)
        size = waiting if self._batch_size == WHAT_IS_QUEUED else min(self._batch_size, waiting)
        for _ in range(size):
            handed = self._sub.get(now_us)
            if handed is None:
                return
            self._move(handed.item, now_us)

    def _move(self, item: Item[K], now_us: int) -> None:
        try:
            self.add_limited(item, now_us)
        except Exception:
            self._sub.add(item, now_us)
            raise
        else:
            self._sub.forget(item.key, now_us)
        finally:
            self._sub.done(item.key, now_us)


def composite(
    kind: CompositeKind,
    start_us: int,
    *,
    main: Limiter[K] | None = None,
    sub: Limiter[K] | None = None,
    interval_us: int = BATCHING_INTERVAL_US,
    batch_size: int = WHAT_IS_QUEUED,
) -> CompositeQueue[K]:
    """A new composite queue of a kind; everything that is not given is as in FlytePropeller's code.

    Args:
        main: limiter of the main queue; `maxof`.
        sub: limiter of the sub-queue; `bucket`.

    Raises:
        ValueError: there is no such kind, or a value that it uses makes no sense.
    """
    main = main if main is not None else limiter("maxof")
    match kind:
        case "simple":
            return SimpleQueue(main)
        case "batch":
            sub_queue: RateLimitingQueue[K] = RateLimitingQueue(sub if sub is not None else limiter("bucket"))
            return BatchingQueue(main, sub_queue, start_us, interval_us=interval_us, batch_size=batch_size)
    raise ValueError(f"kind: there is no composite queue {kind!r}, only {', '.join(get_args(CompositeKind))}")
