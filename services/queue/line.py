"""What the keys of a shard wait in: FlytePropeller's composite queue, which can be paused and looked at.

* What is enqueued goes to the sub-queue: with `simple` that is the main queue itself, with `batch` it gathers there and
  moves at the next tick, at the price of the main queue's limiter.
* What comes back from a lease waits as long as the limiter says, and as long as whoever had it asks for.
* Only what came back counts as a retry; `forget` is for a key that is dealt with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from heapq import nsmallest
from itertools import chain, islice
from typing import NamedTuple

from libs.workqueue.composite import BATCHING_INTERVAL_US, WHAT_IS_QUEUED, BatchingQueue, CompositeKind, SimpleQueue
from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item
from libs.workqueue.kinds import BASE_DELAY_US, CAPACITY, MAX_DELAY_US, RATE, LimiterKind, limiter
from libs.workqueue.layer import Layer, short_cut
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import Limiter
from libs.workqueue.metrics import QueueMetrics
from libs.workqueue.pausing import PausableQueue
from libs.workqueue.queue import WorkQueue

Key = Item[int]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of what kind the queues of all shards are. But for the kind itself, every default is FlytePropeller's."""

    kind: CompositeKind = "simple"
    interval_us: int = BATCHING_INTERVAL_US
    batch_size: int = WHAT_IS_QUEUED
    limiter: LimiterKind = "maxof"
    base_delay_us: int = BASE_DELAY_US
    max_delay_us: int = MAX_DELAY_US
    rate: int = RATE
    capacity: int = CAPACITY

    def new_limiter(self) -> Limiter[int]:
        """Raises ValueError when the limiter's values make no sense."""
        return limiter(
            self.limiter,
            base_delay_us=self.base_delay_us,
            max_delay_us=self.max_delay_us,
            rate=self.rate,
            capacity=self.capacity,
        )


class State(Enum):
    """Where a key is that nobody has."""

    WAITING = "waiting"
    """It could be handed out."""
    GATHERING = "gathering"
    """It is in the sub-queue, for the next batch."""
    DELAYED = "delayed"
    """It is not due yet."""


class Place(NamedTuple):
    """A key that nobody has, and where it is."""

    key: Key
    state: State
    at_us: int
    """Since when it needs processing; of what is delayed, when it is due."""


class Line(Layer[int]):
    """The queue of one shard."""

    def __init__(self, shape: Shape, metrics: QueueMetrics[int] | None = None) -> None:
        """`metrics` is what counts, where it does more than that."""
        self.metrics: QueueMetrics[int] = QueueMetrics() if metrics is None else metrics
        """Of the main queue."""
        self._waiting: WorkQueue[int] = WorkQueue(self.metrics)
        self._main: DelayingQueue[int] = DelayingQueue(self._waiting)
        self._gathering: WorkQueue[int] = WorkQueue()
        self._sub: DelayingQueue[int] = DelayingQueue(self._gathering)
        self._composite = self._composed(shape)
        """Uses the sub-queue only if it is to gather batches."""
        self._pausable = PausableQueue(self._composite)
        self._gathers = shape.kind == "batch"
        super().__init__(self._pausable)
        short_cut(self, Line, self._composite, ("forget", "retries"))

    def _composed(self, shape: Shape) -> SimpleQueue[int] | BatchingQueue[int]:
        if shape.kind == "simple":
            return SimpleQueue(shape.new_limiter(), self._main)
        sub: RateLimitingQueue[int] = RateLimitingQueue(limiter("bucket"), self._sub)
        # Ticks count from the clock's zero, so that they are the same for all shards.
        return BatchingQueue(
            shape.new_limiter(),
            sub,
            0,
            interval_us=shape.interval_us,
            batch_size=shape.batch_size,
            queue=self._main,
        )

    @property
    def depth(self) -> int:
        """How many keys nobody has: they wait, gather, or are delayed."""
        return len(self) + self.delayed + self.gathering

    @property
    def gathering(self) -> int:
        """How many are in the sub-queue, those that are delayed there included."""
        return self._composite.in_sub

    @property
    def paused_until_us(self) -> int | None:
        """End of the pause; None when there is none. One that is over may stay until time is told again."""
        return self._pausable.paused_until_us

    def takes_place(self, key: int, delay_us: int) -> bool:
        """Whether a key that is enqueued adds to the depth: one that collapses does not, nor one that somebody has."""
        entrance = self._sub if self._gathers else self._main
        if entrance.is_delayed(key) if delay_us > 0 else entrance.is_dirty(key):
            return False
        return not self.is_processing(key)

    def enqueue(self, key: Key, delay_us: int, now_us: int) -> bool:
        """Takes a key in. Returns whether it was unknown where it came in."""
        if delay_us > 0:
            return self._composite.add_to_sub_after(key, delay_us, now_us)
        return self._composite.add_to_sub(key, now_us)

    def come_back(self, key: Key, after_us: int, now_us: int) -> None:
        """Somebody had the key and could not deal with it: it waits as the limiter says, and at least `after_us`."""
        self._composite.add_limited(key, now_us, at_least_us=after_us)

    def forget(self, key: int, now_us: int) -> None:
        """The key is dealt with: its next return is a first one."""
        self._composite.forget(key, now_us)

    def retries(self, key: int) -> int:
        """How often it was limited since it was last forgotten: client-go's NumRequeues."""
        return self._composite.retries(key)

    def pause(self, until_us: int, now_us: int) -> None:
        """Hands nothing out before `until_us`, which is to come."""
        self._pausable.pause(until_us - now_us, now_us)

    def resume(self) -> None:
        self._pausable.resume()

    def counts(self) -> Iterator[tuple[int, str, int]]:
        """Priority, lane and how many wait there: the highest priority first, its lanes in the order of their turns."""
        return self._waiting.counts()

    def places(self, limit: int) -> Iterator[Place]:
        """Where keys are, at most so many: what waits, the oldest first; what gathers, likewise; what is delayed, by
        when it is due."""
        waiting = (Place(key, State.WAITING, since_us) for key, since_us in self._waiting.waiting())
        gathering = (Place(key, State.GATHERING, since_us) for key, since_us in self._gathering.waiting())
        first = list(islice(chain(waiting, gathering), limit))
        later = chain(self._main.later(), self._sub.later())
        for key, due_us in nsmallest(limit - len(first), later, key=lambda one: one[1]):
            first.append(Place(key, State.DELAYED, due_us))
        return iter(first)
