"""What a replica has of garbage collection, over all its terms: the store, the limits, and what it has done so far.

The numbers are shown to whoever collects metrics: FlytePropeller has `gc_success`, `gc_failure` and `gc_latency`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from libs.blob import BlobStore
from libs.runtime.clock import Clock
from libs.store.garbage import Count, Garbage
from libs.telemetry.metrics import Board, Kind, Level, Metering, Metric, Values
from services.propeller.garbage.collector import Collector, Limits, Totals
from services.propeller.garbage.preview import Preview, preview
from services.propeller.garbage.retention import EVERYBODY, Retention
from services.propeller.garbage.store import GarbageStore


class Housekeeping:
    """Makes collectors, and answers what operators ask. Belongs to the event loop; close it at the end."""

    def __init__(self, store: GarbageStore, blob: BlobStore, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._blob = blob
        self._clock = clock
        self.limits = limits
        self._totals: defaultdict[int, Totals] = defaultdict(Totals)
        """By shard."""

    def collector(self, shard: int, epoch: int, leading: Callable[[], bool]) -> Collector:
        """For one term."""
        return Collector(
            self._store,
            self._blob,
            self._clock,
            self.limits,
            self._totals[shard],
            shard=shard,
            epoch=epoch,
            leading=leading,
        )

    async def preview(self, shard: int, days: float | None) -> Sequence[Preview]:
        """What would go by the limits, or with another number of days for everybody."""
        retention = self.limits.retention if days is None else Retention(days={EVERYBODY: days})
        return await preview(self._store, self._blob, retention, shard, self._clock.now_us())

    async def waiting(self, shard: int) -> Count:
        """What is marked or condemned."""
        return await self._store.read(Garbage.count, shard)

    async def close(self) -> None:
        await self._store.close()

    def board(self, metering: Metering) -> Board:
        """What was done so far, for whoever collects metrics."""
        return Board(metering, METRICS, self._look)

    def _look(self) -> Values:
        shown: dict[str, list[Level]] = {metric.name: [] for metric in METRICS}
        for shard, totals in self._totals.items():
            for metric, value in zip(METRICS, _values(totals), strict=True):
                shown[metric.name].append(Level(value, {"airscrew.shard": shard}))
        return shown


def _counter(name: str, unit: str, description: str) -> Metric:
    return Metric(name, Kind.COUNTER, unit, description, ("airscrew.shard",))


METRICS: Final = (
    _counter("airscrew.gc.passes", "{pass}", "Passes of the garbage collector"),
    _counter("airscrew.gc.failures", "{pass}", "Passes that ended early, for trouble"),
    _counter("airscrew.gc.executions", "{execution}", "Executions that it has removed"),
    _counter("airscrew.gc.rows", "{row}", "Rows that it has removed with them"),
    _counter("airscrew.gc.blobs", "{blob}", "Blobs that it has removed with them"),
    _counter("airscrew.gc.blob.size", "By", "Size of these blobs"),
    _counter("airscrew.gc.cache.entries", "{entry}", "Cached outputs that it has removed, as nobody used them"),
    Metric("airscrew.gc.last.duration", Kind.GAUGE, "s", "How long its last pass took", ("airscrew.shard",)),
    Metric("airscrew.gc.last.end", Kind.GAUGE, "s", "When that ended, since the Unix epoch", ("airscrew.shard",)),
)


def _values(totals: Totals) -> tuple[float, ...]:
    """In the order of METRICS."""
    last = totals.last
    return (
        totals.passes,
        totals.failures,
        totals.executions,
        totals.rows,
        *totals.usage,
        totals.entries,
        0 if last is None else (last.ended_us - last.began_us) / 1e6,
        0 if last is None else last.ended_us / 1e6,
    )
