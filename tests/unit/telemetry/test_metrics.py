"""Metrics: read when they are sent or scraped, off where nobody collects them."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.telemetry.metrics import OTHERS, Board, Kind, Level, Metering, Metric, Names
from libs.telemetry.otel import metering
from libs.telemetry.otlp import SdkMetrics
from libs.telemetry.traces import TraceContext
from tests.support.meters import histograms, shown

THINGS = Metric("things", Kind.GAUGE, "{thing}", "Things")


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

    Metering().observe(THINGS, read)


def test_a_gauge_tells_what_is_now_and_a_series_that_is_gone_is_not_repeated() -> None:
    reader, things = InMemoryMetricReader(), {"a": 1, "b": 2}
    found = Metering(lambda: SdkMetrics("propeller", reader))
    found.observe(THINGS, lambda: [Level(n, {"kind": kind}) for kind, n in things.items()])
    assert shown(reader) == {"things": [({"kind": "a"}, 1), ({"kind": "b"}, 2)]}
    things["a"] = 0
    del things["b"]
    assert shown(reader) == {"things": [({"kind": "a"}, 0)]}
    found.shutdown()


def test_a_histogram_has_the_trace_of_a_sampled_value_as_its_exemplar() -> None:
    reader = InMemoryMetricReader()
    record = Metering(lambda: SdkMetrics("propeller", reader)).histogram(
        Metric("took", Kind.HISTOGRAM, "s", "x"), (1, 2)
    )
    trace = TraceContext(7, 9, True)
    record(0.5, {"kind": "a"}, trace)
    record(1.5, {"kind": "a"}, trace._replace(sampled=False, trace_id=8))
    record(3, {"kind": "a"})
    ((about, point),) = histograms(reader)["took"]
    assert (about, list(point.bucket_counts), point.sum) == ({"kind": "a"}, [1, 1, 1], 5.0)
    assert [(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars] == [(7, 9)]


def test_where_metrics_are_off_a_histogram_takes_values_and_keeps_nothing() -> None:
    Metering().histogram(Metric("took", Kind.HISTOGRAM, "s", "Time"))(1.0, {})


async def test_a_board_shows_what_its_last_look_found_and_looks_once_more_at_the_end() -> None:
    reader, things = InMemoryMetricReader(), [1]
    board = Board(Metering(lambda: SdkMetrics("queue", reader)), [THINGS], lambda: {"things": [Level(things[0], {})]})
    assert shown(reader) == {}
    watching = asyncio.create_task(board.watch())
    await asyncio.sleep(0)
    things[0] = 2
    assert shown(reader) == {"things": [({}, 1)]}
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert shown(reader) == {"things": [({}, 2)]}


def test_only_so_many_names_are_told_apart_and_the_answer_for_a_name_stays() -> None:
    names = Names(2)
    assert [names.of(name) for name in ("a", "b", "c", "a", "d", "b")] == ["a", "b", OTHERS, "a", OTHERS, "b"]


def test_prometheus_finds_metrics_where_the_setting_says_and_nowhere_after_the_end() -> None:
    found = metering("queue", {}, scraped_at="127.0.0.1:0")
    found.observe(THINGS, lambda: [Level(3, {"kind": "a"})])
    found.observe(Metric("things.seen", Kind.COUNTER, "{thing}", "Seen"), lambda: [Level(5, {})])
    found.histogram(Metric("thing.age", Kind.HISTOGRAM, "s", "Age"))(0.2, {})
    port = found.port
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    assert 'things{kind="a"} 3.0' in text
    assert "things_seen_total 5.0" in text
    assert "thing_age_seconds_count 1.0" in text
    assert "process_resident_memory_bytes" in text
    found.shutdown()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)


def test_an_address_that_cannot_be_had_is_an_error() -> None:
    for address in ("nowhere", "127.0.0.1:x"):
        with pytest.raises(OSError, match="host:port"):
            metering("queue", {}, scraped_at=address)


def test_the_switch_of_the_sdk_turns_scraping_off_too() -> None:
    assert not metering("queue", {"OTEL_SDK_DISABLED": "true"}, scraped_at="127.0.0.1:0").enabled
