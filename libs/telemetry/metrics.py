"""How much there is of what, how often something happened and how long it took: for whoever collects it.

Guarantee: where nobody collects, nothing is ever read, counted or measured for it: `Metering.enabled` is False, and who
would have to do something on the hot path asks that once and keeps nothing then.

Levels and totals are *read*, not told: `read` is called by the thread that sends or is scraped, at any time. It must
not touch what belongs to the event loop, and should only hand out what somebody has counted, as a `Board` does. What it
raises is logged by the SDK and concerns this metric only. Only durations are told one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol

from libs.telemetry.traces import Attribute, TraceContext

LOOK_SECONDS: Final = 5.0
"""How old what a board shows is at most. Collectors look every 15 s, or less often."""

OTHERS: Final = "(others)"
"""What stands for every name beyond those that a metric tells apart."""

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)
"""Bounds of durations: from a turn of a millisecond to a task of half an hour."""


class Kind(Enum):
    """What the values of a metric mean."""

    GAUGE = "gauge"
    """What is now."""
    COUNTER = "counter"
    """What has happened since the process began: never falls."""
    HISTOGRAM = "histogram"
    """How many values there were up to each bound, and their sum."""


class Metric(NamedTuple):
    """One metric of a service."""

    name: str
    """As OpenTelemetry has it. Prometheus shows `a.b` as `a_b`, with the unit and `_total` after it."""
    kind: Kind
    unit: str
    """In UCUM: `s`, `By`; what is counted in braces."""
    description: str
    attributes: tuple[str, ...] = ()
    """What its series differ in."""

    @property
    def prometheus(self) -> str:
        """How Prometheus calls it; a histogram's series are this name with `_bucket`, `_sum` and `_count`."""
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        return self.name.replace(".", "_") + unit + ("_total" if self.kind is Kind.COUNTER else "")


class Level(NamedTuple):
    """What a gauge or a counter shows for one set of attributes."""

    value: float
    attributes: Mapping[str, Attribute]


Read = Callable[[], Iterable[Level]]

Values = Mapping[str, Sequence[Level]]
"""By name of the metric."""


class Record(Protocol):
    """Takes one value of a histogram."""

    def __call__(self, value: float, attributes: Mapping[str, Attribute], trace: TraceContext | None = None, /) -> None:
        """`trace` may become the exemplar of its bucket, if it is sampled."""


class Exporter(Protocol):
    """Where metrics are read from, now and then."""

    def observe(self, metric: Metric, read: Read) -> None:
        """Reads this gauge or counter from now on."""

    def record(self, metric: Metric, bounds: Sequence[float]) -> Record:
        """What takes the values of a histogram."""

    def close(self) -> None:
        """Reads and sends all of them once more, within a bounded time."""


class Metering:
    """The process's way to show metrics; harmless when nobody collects them."""

    def __init__(
        self,
        connect: Callable[[], Exporter] | None = None,
        closed: Callable[[], None] | None = None,
        port: int | None = None,
    ) -> None:
        """`connect` is called for the first metric: a process without one sends nothing. `closed` is called last."""
        self._connect = connect
        self._closed = closed
        self.port = port
        """Where Prometheus finds them; None where it does not."""
        self._exporter: Exporter | None = None
        self.enabled = connect is not None

    def observe(self, metric: Metric, read: Read) -> None:
        """Shows what `read` says of a gauge or a counter. Does nothing when metrics are off."""
        if (exporter := self._connected()) is not None:
            exporter.observe(metric, read)

    def histogram(self, metric: Metric, bounds: Sequence[float] = SECONDS) -> Record:
        """What takes the values of a histogram, and forgets them when metrics are off."""
        exporter = self._connected()
        return _forget if exporter is None else exporter.record(metric, bounds)

    def shutdown(self) -> None:
        """Sends the last values, within a bounded time, and turns metrics off."""
        exporter, self._exporter, self._connect, self.enabled = self._exporter, None, None, False
        closed, self._closed = self._closed, None
        if exporter is not None:
            exporter.close()
        if closed is not None:
            closed()

    def _connected(self) -> Exporter | None:
        if self._exporter is None and self._connect is not None:
            self._exporter = self._connect()
        return self._exporter


def _forget(value: float, attributes: Mapping[str, Attribute], trace: TraceContext | None = None, /) -> None:
    pass


class Board:
    """Gauges and counters that are looked up together on the event loop, and read from there by any thread."""

    def __init__(self, metering: Metering, metrics: Iterable[Metric], look: Callable[[], Values]) -> None:
        """`look` finds all values, and belongs to the event loop; a metric that it does not name has none."""
        self._look = look
        self._values: Values = {}
        for metric in metrics:
            metering.observe(metric, self._reader(metric.name))

    async def watch(self) -> None:
        """Looks every now and then, and a last time when it is cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.look()

    def look(self) -> None:
        """Shows what is now."""
        self._values = self._look()

    def _reader(self, name: str) -> Read:
        return lambda: self._values.get(name, ())


class Names:
    """Tells the first so many names apart; all that come later are one. Bounds how many series a metric has."""

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """What stands for the name: itself, or `OTHERS`. The answer for a name never changes."""
        if name in self._known:
            return name
        if len(self._known) >= self._limit:
            return OTHERS
        self._known.add(name)
        return name
