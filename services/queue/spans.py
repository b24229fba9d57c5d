"""The wait of a key in this queue, as a span of its execution's trace."""

from __future__ import annotations

from collections.abc import Iterable

from libs.runtime.clock import Clock
from libs.telemetry.traces import Attribute, TraceContext, Tracing
from services.queue.shards import Lease


class Spans:
    """Emits the span `queue` for every lease whose trace is sampled.

    The span's id comes from the execution's root span and the lease's number, which is never used twice.
    """

    def __init__(self, tracing: Tracing, clock: Clock) -> None:
        self._tracing = tracing
        self._clock = clock

    def emit(self, shard: int, leases: Iterable[Lease]) -> None:
        """The keys of these leases have just stopped waiting."""
        if not self._tracing.enabled:
            return
        now_us = self._clock.now_us()
        for lease in leases:
            root = TraceContext.parse(lease.key.trace) if lease.key.trace else None
            if root is not None and root.sampled:
                attributes: dict[str, Attribute] = {
                    "airscrew.key": lease.key.key,
                    "airscrew.shard": shard,
                    "airscrew.lane": lease.key.lane,
                    "airscrew.priority": lease.key.priority,
                }
                context = root.child("queue", lease.number)
                self._tracing.emit("queue", context, root.span_id, now_us - lease.waited_us, now_us, attributes)
