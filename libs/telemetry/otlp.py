"""Hands finished spans, metrics and log records to OpenTelemetry's SDK, which no module but this and `otlpspans` knows.

The SDK's tracer cannot emit a span under a given id, so spans are built directly and given to the SDK's batch
processor, which sends from a thread of its own and drops the oldest when the collector is away. Metrics are read and
sent by a thread of the SDK's too, or when Prometheus scrapes them, by the thread that answers.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from libs.telemetry import logs
from libs.telemetry.metrics import Kind, Metric, Read, Record
from libs.telemetry.otlpspans import Queued, SpanSender
from libs.telemetry.traces import Attribute, Span, TraceContext

# How long the end of a process waits for the last spans, and for the last gauges. The SDK would wait 30 s for a
# collector that is away.
CLOSE_SECONDS: Final = 3.0

_SCOPE: Final = "airscrew"
_SEVERITY: Final = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class OtlpExporter:
    """Sends spans to the OTLP endpoint that the `OTEL_*` variables name."""

    def __init__(self, service: str) -> None:
        self._processor: Any = BatchSpanProcessor(SpanSender(_resource(service), _SCOPE))

    def export(self, span: Span) -> None:
        self._processor.on_end(Queued(span))

    def close(self) -> None:
        _within_bounds(self._processor.shutdown)


class SdkMetrics:
    """Metrics in the SDK, read by `readers`: to be sent, to be scraped, or by a test."""

    def __init__(self, service: str, *readers: MetricReader) -> None:
        self._provider = MeterProvider(readers, _resource(service), shutdown_on_exit=False)
        self._meter = self._provider.get_meter(_SCOPE)

    def observe(self, metric: Metric, read: Read) -> None:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, attributes) for value, attributes in read()]

        create = (
            self._meter.create_observable_counter
            if metric.kind is Kind.COUNTER
            else self._meter.create_observable_gauge
        )
        create(metric.name, [observe], metric.unit, metric.description)

    def record(self, metric: Metric, bounds: Sequence[float]) -> Record:
        histogram = self._meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=bounds
        )

        def record(value: float, attributes: Mapping[str, Attribute], of: TraceContext | None = None, /) -> None:
            context = None
            if of is not None and of.sampled:
                context = trace.set_span_in_context(trace.NonRecordingSpan(_context(of)))
            histogram.record(value, attributes, context)

        return record

    def close(self) -> None:
        _within_bounds(self._provider.shutdown)


def sender() -> MetricReader:
    """Sends to the OTLP endpoint that the `OTEL_*` variables name, as often as they say."""
    return PeriodicExportingMetricReader(OTLPMetricExporter())


class OtlpLogs(logging.Handler):
    """Sends log records, with the fields that they carry as attributes, and the ids of their trace in its place."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._provider = LoggerProvider(_resource(service), shutdown_on_exit=False)
        self._provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        self._logger = self._provider.get_logger(_SCOPE)
        # What the SDK logs about sending must not be sent: it would never end.
        self.addFilter(lambda record: not record.name.startswith("opentelemetry"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = logs.fields(record)
            trace_id, span_id = fields.pop("trace_id", None), fields.pop("span_id", None)
            self._logger.emit(
                timestamp=int(record.created * 1e9),
                context=_logged_in(trace_id, span_id),
                severity_number=_SEVERITY.get(record.levelno, SeverityNumber.UNSPECIFIED),
                severity_text=record.levelname,
                body=record.getMessage(),
                attributes={"logger": record.name, **{name: _plain(value) for name, value in fields.items()}},
                exception=record.exc_info[1] if record.exc_info else None,
            )
        except Exception:
            self.handleError(record)

    def finish(self) -> None:
        """Sends what is left, within a bounded time."""
        _within_bounds(self._provider.shutdown)


def _logged_in(trace_id: object, span_id: object) -> Context | None:
    if not (isinstance(trace_id, str) and isinstance(span_id, str)):
        return None
    return trace.set_span_in_context(
        trace.NonRecordingSpan(_context(TraceContext(int(trace_id, 16), int(span_id, 16), True)))
    )


def _plain(value: object) -> Attribute:
    return value if isinstance(value, str | bool | int | float) else str(value)


def _within_bounds(shutdown: Callable[[], object]) -> None:
    closing = threading.Thread(target=shutdown, name="otlp-close", daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)


def _resource(service: str) -> Resource:
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
    named = {"service.name": f"airscrew-{service}", "service.namespace": "airscrew"}
    return Resource(named).merge(Resource.create()) if _names_service() else Resource.create(named)


def _names_service() -> bool:
    return "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")


def _context(context: TraceContext) -> trace.SpanContext:
    flags = trace.TraceFlags.SAMPLED if context.sampled else trace.TraceFlags.DEFAULT
    return trace.SpanContext(context.trace_id, context.span_id, is_remote=False, trace_flags=trace.TraceFlags(flags))
