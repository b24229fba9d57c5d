"""A receiver of traces, metrics and logs: OpenTelemetry's real gRPC services, keeping all that it is sent.

    with otlp.Receiver() as receiver:
        ...start something with OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint...
        trace = receiver.trace(trace_id, until=lambda trace: trace.named("execution"))

Exporters batch, so a trace is complete only some seconds after its last span ended: `trace` waits for what the caller
says it must contain, and `settled` then waits until nothing more arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    """A span as it came over the wire; ids as hexadecimal, times in nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a span without a parent."""
    name: str
    service: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, str] = field(hash=False)


@dataclass(frozen=True)
class Gauge:
    """One value of a gauge as it came over the wire."""

    name: str
    service: str
    value: int
    attributes: dict[str, str] = field(hash=False)


@dataclass(frozen=True)
class Log:
    """A log record as it came over the wire."""

    service: str
    level: str
    message: str
    trace_id: str
    """Empty where it belongs to no trace."""
    attributes: dict[str, str] = field(hash=False)


@dataclass(frozen=True)
class Trace:
    """All spans of one trace id that have arrived so far."""

    spans: tuple[Span, ...]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    @property
    def services(self) -> set[str]:
        return {span.service for span in self.spans}

    @property
    def roots(self) -> list[Span]:
        return [span for span in self.spans if not span.parent_id]

    def span(self, span_id: str) -> Span | None:
        return next((span for span in self.spans if span.span_id == span_id), None)

    def orphans(self) -> list[Span]:
        """Spans whose parent nobody sent."""
        known = {span.span_id for span in self.spans} | {""}
        return [span for span in self.spans if span.parent_id not in known]

    def ancestors(self, span: Span) -> list[Span]:
        """From the parent of `span` up to the root."""
        line: list[Span] = []
        parent = self.span(span.parent_id)
        while parent is not None and parent not in line:
            line.append(parent)
            parent = self.span(parent.parent_id)
        return line


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on 127.0.0.1, on a free port unless one is given, from `__enter__` to `__exit__`."""

    def __init__(self, port: int = 0) -> None:
        self._arrived = threading.Condition()
        self._spans: list[Span] = []
        self._gauges = _Gauges()
        self._logs = _Logs()
        self._server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="otlp"), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self._gauges, self._server)  # type: ignore[no-untyped-call]
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(self._logs, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.stop(grace=1).wait()

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        arrived = [span for resource in request.resource_spans for span in _spans_of(resource)]
        with self._arrived:
            self._spans.extend(arrived)
            self._arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        with self._arrived:
            return list(self._spans)

    @property
    def gauges(self) -> list[Gauge]:
        """In the order in which they arrived."""
        return list(self._gauges.arrived)

    @property
    def metrics(self) -> set[tuple[str, str]]:
        """Service and name of every metric that has arrived, of any kind."""
        return set(self._gauges.names)

    @property
    def logs(self) -> list[Log]:
        """In the order in which they arrived."""
        return list(self._logs.arrived)

    def about(self, attribute: str, value: str) -> set[str]:
        """Ids of the traces in which some span carries this attribute."""
        return {span.trace_id for span in self.spans if span.attributes.get(attribute) == value}

    def trace(self, trace_id: str, *, until: Callable[[Trace], object] = bool, timeout_seconds: float = 20.0) -> Trace:
        """The trace, as soon as `until(trace)` is true; as it is when the time is over, so that the test can say what
        is missing."""
        deadline = time.monotonic() + timeout_seconds
        with self._arrived:
            while True:
                trace = Trace(tuple(span for span in self._spans if span.trace_id == trace_id))
                left = deadline - time.monotonic()
                if (trace.spans and until(trace)) or left <= 0:
                    return trace
                self._arrived.wait(left)

    def settled(self, trace_id: str, *, quiet_seconds: float = 2.0, timeout_seconds: float = 30.0) -> Trace:
        """The trace, once nothing has been added to it for `quiet_seconds`."""
        deadline = time.monotonic() + timeout_seconds
        trace = self.trace(trace_id, timeout_seconds=timeout_seconds)
        while time.monotonic() < deadline:
            size = len(trace.spans)
            trace = self.trace(trace_id, until=lambda now: len(now.spans) > size, timeout_seconds=quiet_seconds)  # noqa: B023
            if len(trace.spans) == size:
                break
        return trace


class _Gauges(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps the gauges."""

    def __init__(self) -> None:
        self.arrived: list[Gauge] = []
        self.names: set[tuple[str, str]] = set()

    def Export(
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        self.names.update(
            (_service(resource.resource), metric.name)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        self.arrived.extend(
            Gauge(metric.name, _service(resource.resource), point.as_int, _texts(point.attributes))
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.gauge.data_points
        )
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    """Keeps the log records."""

    def __init__(self) -> None:
        self.arrived: list[Log] = []

    def Export(
        self, request: logs_service_pb2.ExportLogsServiceRequest, context: grpc.ServicerContext
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        self.arrived.extend(
            Log(
                _service(resource.resource),
                record.severity_text,
                record.body.string_value,
                record.trace_id.hex(),
                _texts(record.attributes),
            )
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        )
        return logs_service_pb2.ExportLogsServiceResponse()


def _spans_of(resource: trace_pb2.ResourceSpans) -> list[Span]:
    service = _service(resource.resource)
    return [
        Span(
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            service=service,
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
            attributes=_texts(span.attributes),
        )
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _service(resource: resource_pb2.Resource) -> str:
    return next((each.value.string_value for each in resource.attributes if each.key == "service.name"), "")


def _texts(attributes: Iterable[common_pb2.KeyValue]) -> dict[str, str]:
    return {each.key: _text(each.value) for each in attributes}


def _text(value: object) -> str:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    return str(getattr(value, kind)) if kind else ""
