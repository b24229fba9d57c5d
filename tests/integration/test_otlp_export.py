"""What we emit arrives at a real OTLP receiver as it was given: ids, times, parents, failures, values of gauges."""

from __future__ import annotations

import logging

import pytest

from libs.telemetry import logs, otel, traces
from libs.telemetry.metrics import Kind, Level, Metric
from tests.support import otlp

THINGS = Metric("things", Kind.GAUGE, "{thing}", "Things")


def test_spans_arrive_with_the_ids_and_times_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    root = traces.TraceContext.mint(b"0123456789abcdef", True)
    node = root.child("node", "n0")
    with otlp.Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        tracing = otel.configure("propeller")
        tracing.emit("node", node, root.span_id, 1_000_000, 2_000_000, {"flyte.node.id": "n0"}, error="boom")
        tracing.emit("execution", root, None, 1_000_000, 3_000_000)
        tracing.shutdown()
        trace = receiver.trace(f"{root.trace_id:032x}", until=lambda trace: len(trace.spans) == 2)
    (execution,) = trace.named("execution")
    (child,) = trace.named("node")
    assert (execution.span_id, execution.parent_id, execution.failed) == (f"{root.span_id:016x}", "", False)
    assert (child.span_id, child.parent_id, child.failed) == (f"{node.span_id:016x}", execution.span_id, True)
    assert (child.start_ns, child.end_ns) == (1_000_000_000, 2_000_000_000)
    assert child.attributes["flyte.node.id"] == "n0"
    assert child.service == "airscrew-propeller"


def test_the_environment_may_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    root = traces.TraceContext.mint(b"fedcba9876543210", True)
    with otlp.Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
        tracing = otel.configure("propeller")
        tracing.emit("execution", root, None, 1, 2)
        tracing.shutdown()
        trace = receiver.trace(f"{root.trace_id:032x}", until=lambda trace: len(trace.spans) == 1)
    assert trace.spans[0].service == "ours"


def test_a_gauge_is_sent_at_the_latest_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with otlp.Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        metering = otel.metering("propeller")
        metering.observe(THINGS, lambda: [Level(3, {"kind": "a"}), Level(0, {"kind": "b"})])
        metering.shutdown()
        assert receiver.gauges == [
            otlp.Gauge("things", "airscrew-propeller", 3, {"kind": "a"}),
            otlp.Gauge("things", "airscrew-propeller", 0, {"kind": "b"}),
        ]


def test_a_log_record_arrives_with_its_fields_and_its_trace_and_what_the_sender_says_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with otlp.Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        assert otel.logs_handler("propeller") is None, "nobody has asked for it"
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
        made = otel.logs_handler("propeller")
        assert made is not None
        handler, finish = made
        for name in ("airscrew.test", "opentelemetry.exporter"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            try:
                with logs.bind(execution="p:d:n", trace_id=7, span_id=9):
                    logger.warning("it %s", "broke", extra={"node": "n0", "attempt": 1})
            finally:
                logger.removeHandler(handler)
        finish()
        (found,) = receiver.logs
    assert (found.service, found.level, found.message) == ("airscrew-propeller", "WARNING", "it broke")
    assert found.trace_id == f"{7:032x}"
    assert found.attributes == {"logger": "airscrew.test", "execution": "p:d:n", "node": "n0", "attempt": "1"}
