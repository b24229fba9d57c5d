"""What goes around a work queue, against models that are lists, loops and one step per microsecond.

The owner of the real queue only looks when `next_due_us` tells it to; the models look at every microsecond. That both
hand out the same keys in the same order shows that nobody has to look more often.
"""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.workqueue.bounded import BoundedQueue
from libs.workqueue.composite import WHAT_IS_QUEUED, BatchingQueue
from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item
from libs.workqueue.layer import Queue
from libs.workqueue.limited import RateLimitingQueue
from libs.workqueue.limiters import ItemExponential
from libs.workqueue.metrics import DURATION_BOUNDS_US, QueueMetrics
from libs.workqueue.pausing import PausableQueue
from libs.workqueue.queue import WorkQueue

KEYS = st.sampled_from("abcde")
DELAYS = st.integers(-1, 12)
Event = tuple[Literal["added", "handed", "done", "retried"], str, int]


class Naive:
    """A queue with delays, of bare keys in one lane. Writes down what happens."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.again: list[str] = []
        """Keys that were added while they are processed."""
        self.delayed: list[tuple[int, int, str]] = []
        self.processing: list[str] = []
        self.shut = False
        self.events: list[Event] = []

    def dirty(self) -> int:
        return len(self.waiting) + len(self.again)

    def collapses(self, key: str, delay: int) -> bool:
        return key in [k for _, _, k in self.delayed] if delay > 0 else key in self.waiting + self.again

    def add(self, key: str, now: int) -> None:
        if not self.shut and key not in self.waiting + self.again:
            (self.again if key in self.processing else self.waiting).append(key)
            self.events.append(("added", key, now))

    def add_after(self, key: str, delay: int, now: int) -> None:
        if self.shut:
            return
        self.events.append(("retried", key, now))
        if delay <= 0:
            self.add(key, now)
            return
        known = [entry for entry in self.delayed if entry[2] == key]
        if not known or now + delay < known[0][0]:
            self.delayed = [entry for entry in self.delayed if entry[2] != key]
            self.delayed.append((now + delay, len(self.events), key))

    def look(self, now: int) -> None:
        for entry in sorted(entry for entry in self.delayed if entry[0] <= now):
            self.delayed.remove(entry)
            self.add(entry[2], now)

    def get(self, now: int) -> str | None:
        if not self.waiting:
            return None
        key = self.waiting.pop(0)
        self.processing.append(key)
        self.events.append(("handed", key, now))
        return key

    def done(self, key: str, now: int) -> None:
        if key in self.processing:
            self.processing.remove(key)
            self.events.append(("done", key, now))
            if key in self.again:
                self.again.remove(key)
                self.waiting.append(key)

    def shut_down(self) -> None:
        self.shut, self.delayed = True, []


def key_of(queue: Queue[str], now: int) -> str | None:
    handed = queue.get(now)
    return None if handed is None else handed.item.key


class Full(Exception):
    def __init__(self, message: str, retry_after_us: int) -> None:
        super().__init__(message)
        self.retry_after_us = retry_after_us


class Timed(RuleBasedStateMachine):
    """A queue whose owner looks when it is told to, and a model that looks all the time."""

    queue: Queue[str]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0

    def look(self) -> None:
        """One step of the model, at `now`."""
        raise NotImplementedError

    @rule(step=st.integers(1, 20))
    def time_passes(self, step: int) -> None:
        until = self.now + step
        while (due := self.queue.next_due_us()) is not None and due <= until:
            looks_at = max(due, self.now)
            self.queue.advance(looks_at)
            again = self.queue.next_due_us()
            assert again is None or again > looks_at
        while self.now < until:
            self.now += 1
            self.look()


class PausedAndBoundedBehaveAsModel(Timed):
    """Pauses, bounds and metrics around one queue."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Naive()
        self.metrics: QueueMetrics[str] = QueueMetrics()
        self.paused_until = 0
        self.most_processing = 0

    @initialize(depth=st.integers(1, 4))
    def begin(self, depth: int) -> None:
        self.depth = depth
        self.pausable = PausableQueue(DelayingQueue(WorkQueue(self.metrics)))
        self.queue = BoundedQueue(self.pausable, depth, Full, retry_after_us=7)

    def look(self) -> None:
        self.model.look(self.now)

    def _refused(self, key: str, delay: int) -> bool:
        full = self.model.dirty() + len(self.model.delayed) >= self.depth
        known = key in self.model.processing or self.model.collapses(key, delay)
        return full and not known and not self.model.shut

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        if self._refused(key, 0):
            with pytest.raises(Full) as refused:
                self.queue.add(Item(key), self.now)
            assert refused.value.retry_after_us == 7
        else:
            self.queue.add(Item(key), self.now)
            self.model.add(key, self.now)

    @rule(key=KEYS, delay=DELAYS)
    def add_after(self, key: str, delay: int) -> None:
        if self._refused(key, delay):
            with pytest.raises(Full):
                self.queue.add_after(Item(key), delay, self.now)
        else:
            self.queue.add_after(Item(key), delay, self.now)
            self.model.add_after(key, delay, self.now)

    @rule(ttl=st.integers(1, 30))
    def pause(self, ttl: int) -> None:
        self.pausable.pause(ttl, self.now)
        if not self.model.shut:
            self.paused_until = self.now + ttl

    @rule()
    def resume(self) -> None:
        self.pausable.resume()
        self.paused_until = 0

    @rule()
    def get(self) -> None:
        expected = self.model.get(self.now) if self.now >= self.paused_until else None
        assert key_of(self.queue, self.now) == expected
        self.most_processing = max(self.most_processing, len(self.model.processing))

    @rule(key=KEYS)
    def done(self, key: str) -> None:
        self.queue.done(key, self.now)
        self.model.done(key, self.now)

    @precondition(lambda self: self.now > 60)
    @rule()
    def shut_down(self) -> None:
        self.queue.shut_down()
        self.model.shut_down()
        self.paused_until = 0

    @invariant()
    def states_agree(self) -> None:
        assert self.pausable.paused_us(self.now) == max(self.paused_until - self.now, 0)
        assert len(self.queue) == len(self.model.waiting)
        assert (self.queue.dirty, self.queue.delayed) == (self.model.dirty(), len(self.model.delayed))
        assert self.queue.ended == (self.model.shut and not self.model.waiting)
        for key in "abcde":
            assert self.queue.is_processing(key) == (key in self.model.processing)
            assert self.queue.is_dirty(key) == self.model.collapses(key, 0)
            assert self.queue.is_delayed(key) == self.model.collapses(key, 1)

    @invariant()
    def there_are_no_more_keys_than_may_be(self) -> None:
        model = self.model
        keys = {*model.waiting, *model.again, *model.processing, *(key for _, _, key in model.delayed)}
        assert len(keys) <= self.depth + self.most_processing

    @invariant()
    def metrics_are_what_the_whole_history_says(self) -> None:
        added: dict[str, int] = {}
        started: dict[str, int] = {}
        waits, works = [], []
        for event, key, at in self.model.events:
            if event == "added":
                added[key] = at
            elif event == "handed":
                waits.append(at - added.pop(key))
                started[key] = at
            elif event == "done":
                works.append(at - started.pop(key))
        metrics = self.metrics.at(self.now)
        names = [event for event, _, _ in self.model.events]
        assert (metrics.adds, metrics.retries, metrics.depth) == (
            names.count("added"),
            names.count("retried"),
            len(added),
        )
        ages = [self.now - at for at in started.values()]
        assert metrics.unfinished_work_us == sum(ages)
        assert metrics.longest_running_processor_us == max(ages, default=0)
        for durations, all_of_them in ((metrics.queue_latency, waits), (metrics.work_duration, works)):
            assert durations.count == len(all_of_them) and durations.total_us == sum(all_of_them)
            assert durations.longest_us == max(all_of_them, default=0)
            for place, bound in enumerate(DURATION_BOUNDS_US):
                assert sum(durations.buckets[: place + 1]) == len([one for one in all_of_them if one <= bound])


class CompositeBehavesAsModel(Timed):
    """Two naive queues, and a loop that moves keys at every tick."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.sub = Naive(), Naive()
        self.returns: dict[tuple[Literal["main", "sub"], str], int] = {}

    @initialize(start=st.integers(0, 9), interval=st.integers(1, 15), size=st.sampled_from([WHAT_IS_QUEUED, 1, 2]))
    def begin(self, start: int, interval: int, size: int) -> None:
        self.start, self.interval, self.size = start, interval, size
        sub = RateLimitingQueue[str](ItemExponential(2, 9))
        self.queue = self.composite = BatchingQueue[str](
            ItemExponential(1, 6), sub, start, interval_us=interval, batch_size=size
        )
        self.look()
        self.queue.advance(0)

    def look(self) -> None:
        self.sub.look(self.now)
        if self.now >= self.start and (self.now - self.start) % self.interval == 0 and not self.sub.shut:
            size = len(self.sub.waiting) if self.size == WHAT_IS_QUEUED else self.size
            for key in self.sub.waiting[:size]:
                self.sub.waiting.remove(key)
                self._add_limited("main", key)
                self.returns["sub", key] = 0
        self.main.look(self.now)

    def _add_limited(self, where: Literal["main", "sub"], key: str) -> None:
        returns = self.returns.get((where, key), 0)
        self.returns[where, key] = returns + 1
        if where == "main":
            self.main.add_after(key, min(2**returns, 6), self.now)
        else:
            self.sub.add_after(key, min(2 * 2**returns, 9), self.now)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.composite.add(Item(key), self.now)
        self.main.add(key, self.now)

    @rule(key=KEYS)
    def add_limited(self, key: str) -> None:
        self.composite.add_limited(Item(key), self.now)
        self._add_limited("main", key)

    @rule(key=KEYS, delay=DELAYS)
    def add_after(self, key: str, delay: int) -> None:
        self.composite.add_after(Item(key), delay, self.now)
        self.main.add_after(key, delay, self.now)

    @rule(key=KEYS)
    def add_to_sub(self, key: str) -> None:
        self.composite.add_to_sub(Item(key), self.now)
        self.sub.add(key, self.now)

    @rule(key=KEYS)
    def add_to_sub_limited(self, key: str) -> None:
        self.composite.add_to_sub_limited(Item(key), self.now)
        self._add_limited("sub", key)

    @rule(key=KEYS, delay=DELAYS)
    def add_to_sub_after(self, key: str, delay: int) -> None:
        self.composite.add_to_sub_after(Item(key), delay, self.now)
        self.sub.add_after(key, delay, self.now)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.composite.forget(key, self.now)
        self.returns["main", key] = 0

    @rule()
    def get(self) -> None:
        assert key_of(self.queue, self.now) == self.main.get(self.now)

    @rule(key=KEYS)
    def done(self, key: str) -> None:
        self.queue.done(key)
        self.main.done(key, self.now)

    @precondition(lambda self: self.now > 60)
    @rule()
    def shut_down(self) -> None:
        self.queue.shut_down()
        self.main.shut_down()
        self.sub.shut_down()

    @rule()
    def sub_queues_agree(self) -> None:
        # The owner need not look when a delay in the sub-queue ends, only at the tick after it.
        self.queue.advance(self.now)
        in_sub = 0 if self.sub.shut else len(self.sub.waiting) + len(self.sub.delayed)
        assert self.composite.in_sub == in_sub

    @invariant()
    def main_queues_agree(self) -> None:
        assert (len(self.queue), self.queue.dirty) == (len(self.main.waiting), self.main.dirty())
        assert self.queue.delayed == len(self.main.delayed)
        for key in "abcde":
            assert self.composite.retries(key) == self.returns.get(("main", key), 0)


TestPausedAndBoundedBehaveAsModel = PausedAndBoundedBehaveAsModel.TestCase
TestCompositeBehavesAsModel = CompositeBehavesAsModel.TestCase
MANY = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestPausedAndBoundedBehaveAsModel.settings = MANY
TestCompositeBehavesAsModel.settings = MANY
