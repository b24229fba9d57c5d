"""Gauges: read when they are sent, off where there is nobody to send to."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.telemetry.metrics import Level, Metering
from libs.telemetry.otel import metering
from libs.telemetry.otlp import OtlpMetrics
from tests.support.meters import shown


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "prometheus"},
    ],
)
def test_metrics_are_off_unless_there_is_somewhere_to_send(environ: dict[str, str]) -> None:
    assert not metering("propeller", environ).enabled


@pytest.mark.parametrize("signal", ["", "METRICS_"])
def test_an_endpoint_turns_metrics_on(signal: str) -> None:
    found = metering("propeller", {f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT": "http://127.0.0.1:1"})
    assert found.enabled
    found.shutdown()  # nobody has shown a gauge: there is nothing to wait for
    assert not found.enabled


def test_where_metrics_are_off_a_gauge_is_never_read() -> None:
    def read() -> list[Level]:
        raise AssertionError("read")

    Metering().gauge("things", "{thing}", "Things", read)


def test_a_gauge_tells_what_is_now_and_a_series_that_is_gone_is_not_repeated() -> None:
    reader, things = InMemoryMetricReader(), {"a": 1, "b": 2}
    found = Metering(lambda: OtlpMetrics("propeller", reader))
    found.gauge("things", "{thing}", "Things", lambda: [Level(n, {"kind": kind}) for kind, n in things.items()])
    assert shown(reader) == {"things": [({"kind": "a"}, 1), ({"kind": "b"}, 2)]}
    things["a"] = 0
    del things["b"]
    assert shown(reader) == {"things": [({"kind": "a"}, 0)]}
    found.shutdown()
