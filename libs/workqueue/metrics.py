"""What a queue has done and is doing, under client-go's names: an observer that counts.

Exact, and each event costs the same however many keys there are: ages are not kept per key and added up when somebody
asks, but follow from how many keys are processed and the sum of their starts.

Not promised: percentiles. Durations are counted by powers of ten, as client-go's histograms are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic

from libs.workqueue.items import K

# client-go's buckets rise tenfold from 10 ns to 1000 s (util/workqueue in k8s.io/component-base); below 1 µs we see
# nothing.
DURATION_BOUNDS_US = tuple(10**exponent for exponent in range(10))


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, over all times that it happened."""

    count: int
    total_us: int
    longest_us: int
    buckets: tuple[int, ...]
    """How many were not longer than each of `DURATION_BOUNDS_US` and longer than the bound before; last, the rest."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics of one queue at one moment."""

    depth: int
    """How many keys need processing: those that wait, and those added again while they are processed. Delayed keys
    are not counted."""
    adds: int
    """How often a key came to need processing."""
    queue_latency: Durations
    """From when a key was added, or its delay was over, until it was handed out."""
    work_duration: Durations
    """From when a key was handed out until it was done."""
    unfinished_work_us: int
    """Sum of the ages of all processings that are not done: rises for ever when workers are stuck."""
    longest_running_processor_us: int
    """Age of the oldest processing that is not done; 0 when there is none."""
    retries: int
    """How often a key was added with a delay, whatever the delay: every limited add counts, first ones too."""


class QueueMetrics(Generic[K]):
    """An `Observer` that collects `Metrics`. One for each queue."""

    def __init__(self) -> None:
        self._adds = 0
        self._retries = 0
        self._latency = _Tally()
        self._work = _Tally()
        self._started: OrderedDict[K, int] = OrderedDict()
        """When each key that is processed was handed out; oldest first, because time does not run backwards."""
        self._started_total_us = 0

    def added(self, key: K, now_us: int) -> None:
        self._adds += 1

    def handed(self, key: K, waited_us: int, now_us: int) -> None:
        self._latency.count_one(waited_us)
        self._started[key] = now_us
        self._started_total_us += now_us

    def done(self, key: K, now_us: int) -> None:
        started_us = self._started.pop(key)
        self._started_total_us -= started_us
        self._work.count_one(now_us - started_us)

    def retried(self, key: K, now_us: int) -> None:
        self._retries += 1

    def at(self, now_us: int) -> Metrics:
        """The metrics as they are at `now_us`, which is not before the last event."""
        return Metrics(
            depth=self._adds - self._latency.count,
            adds=self._adds,
            queue_latency=self._latency.durations(),
            work_duration=self._work.durations(),
            unfinished_work_us=len(self._started) * now_us - self._started_total_us,
            longest_running_processor_us=now_us - next(iter(self._started.values()), now_us),
            retries=self._retries,
        )


class _Tally:
    """Durations that are still being counted."""

    def __init__(self) -> None:
        self.count = 0
        self._total_us = 0
        self._longest_us = 0
        self._buckets = [0] * (len(DURATION_BOUNDS_US) + 1)

    def count_one(self, duration_us: int) -> None:
        self.count += 1
        self._total_us += duration_us
        self._longest_us = max(self._longest_us, duration_us)
        self._buckets[bisect_left(DURATION_BOUNDS_US, duration_us)] += 1

    def durations(self) -> Durations:
        return Durations(self.count, self._total_us, self._longest_us, tuple(self._buckets))
