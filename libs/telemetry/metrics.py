"""How much there is of what: gauges, read whenever they are sent.

Guarantee: without somebody to send to, `Metering.gauge` costs nothing and nothing is ever read. `read` is called by the
thread that sends, at any time: it must not touch what belongs to the event loop, and should only hand out what somebody
has counted. What it raises is logged by the SDK and concerns this gauge only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from libs.telemetry.traces import Attribute


class Level(NamedTuple):
    """What a gauge shows for one set of attributes."""

    value: int
    attributes: Mapping[str, Attribute]


Read = Callable[[], Iterable[Level]]


class Exporter(Protocol):
    """Where gauges are read from, now and then."""

    def gauge(self, name: str, unit: str, description: str, read: Read) -> None:
        """Reads this one from now on."""

    def close(self) -> None:
        """Reads and sends all of them once more, within a bounded time."""


class Metering:
    """The process's way to show gauges; harmless when there is nobody to send to."""

    def __init__(self, connect: Callable[[], Exporter] | None = None) -> None:
        """`connect` is called for the first gauge: a process without one sends nothing."""
        self._connect = connect
        self._exporter: Exporter | None = None
        self.enabled = connect is not None

    def gauge(self, name: str, unit: str, description: str, read: Read) -> None:
        """Shows what `read` says. Does nothing when metrics are off."""
        if self._connect is None:
            return
        if self._exporter is None:
            self._exporter = self._connect()
        self._exporter.gauge(name, unit, description, read)

    def shutdown(self) -> None:
        """Sends the last values, within a bounded time, and turns metrics off."""
        exporter, self._exporter, self._connect, self.enabled = self._exporter, None, None, False
        if exporter is not None:
            exporter.close()
