"""The page that Prometheus scrapes: everything the service counts, and what the process and its Python cost.

Prometheus's text has no place for exemplars as the SDK's exporter writes it; they travel by OTLP.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

_CLOSE_SECONDS: Final = 2.0


class Page:
    """Answers on `address` (`host:port`; port 0 takes a free one) from a thread of its own until it is closed."""

    def __init__(self, address: str) -> None:
        """Raises OSError when the address cannot be had."""
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise OSError(f"{address!r} is not host:port")
        registry = CollectorRegistry()
        self.reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._server, self._thread = start_http_server(int(port), host.strip("[]") or "0.0.0.0", registry)
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_CLOSE_SECONDS)
