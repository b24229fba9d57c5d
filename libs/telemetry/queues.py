"""Work queues under client-go's names, for Prometheus and for dashboards that know controllers.

Depth and totals come from what a queue counts anyway; its latencies are told one by one, by an observer that takes the
place of the one that only counts, where somebody collects metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from libs.telemetry.metrics import Kind, Level, Metering, Metric, Record
from libs.workqueue.items import K
from libs.workqueue.metrics import DURATION_BOUNDS_US, Metrics, QueueMetrics

QUEUE_DURATION: Final = Metric(
    "workqueue.queue.duration", Kind.HISTOGRAM, "s", "How long keys waited until they were handed out", ("name",)
)
WORK_DURATION: Final = Metric("workqueue.work.duration", Kind.HISTOGRAM, "s", "How long keys were processed", ("name",))
LOOKED_AT: Final = (
    Metric("workqueue.depth", Kind.GAUGE, "{key}", "Keys that need processing and are due", ("name",)),
    Metric("workqueue.adds", Kind.COUNTER, "{key}", "How often a key came to need processing", ("name",)),
    Metric("workqueue.retries", Kind.COUNTER, "{key}", "How often a key was added with a delay", ("name",)),
    Metric("workqueue.unfinished_work", Kind.GAUGE, "s", "Sum of the ages of what is being processed", ("name",)),
    Metric(
        "workqueue.longest_running_processor",
        Kind.GAUGE,
        "s",
        "Age of the oldest key that is being processed",
        ("name",),
    ),
)
METRICS: Final = (*LOOKED_AT, QUEUE_DURATION, WORK_DURATION)

_BOUNDS: Final = tuple(bound / 1e6 for bound in DURATION_BOUNDS_US)


class Recorders:
    """What takes the latencies of all work queues of a process."""

    def __init__(self, metering: Metering) -> None:
        self._queue = metering.histogram(QUEUE_DURATION, _BOUNDS)
        self._work = metering.histogram(WORK_DURATION, _BOUNDS)

    def observer(self, name: str) -> QueueMetrics[int]:
        """For one queue, which is called `name` in all of its metrics."""
        return _Recording(name, self._queue, self._work)


class _Recording(QueueMetrics[K]):
    """Counts, and tells durations."""

    def __init__(self, name: str, queue: Record, work: Record) -> None:
        super().__init__()
        self._about = {"name": name}
        self._record_queue = queue
        self._record_work = work

    def handed(self, key: K, waited_us: int, now_us: int) -> None:
        super().handed(key, waited_us, now_us)
        self._record_queue(waited_us / 1e6, self._about)

    def done(self, key: K, now_us: int) -> None:
        started_us = self._started[key]
        super().done(key, now_us)
        self._record_work((now_us - started_us) / 1e6, self._about)


def levels(queues: Mapping[str, Metrics]) -> dict[str, list[Level]]:
    """What to show of queues, by their names."""
    found: dict[str, list[Level]] = {metric.name: [] for metric in LOOKED_AT}
    for name, now in queues.items():
        for metric, value in (
            ("workqueue.depth", now.depth),
            ("workqueue.adds", now.adds),
            ("workqueue.retries", now.retries),
            ("workqueue.unfinished_work", now.unfinished_work_us / 1e6),
            ("workqueue.longest_running_processor", now.longest_running_processor_us / 1e6),
        ):
            found[metric].append(Level(value, {"name": name}))
    return found
