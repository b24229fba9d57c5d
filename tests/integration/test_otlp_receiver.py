"""The receiver that the tracing tests trust: fed by OpenTelemetry's own exporter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support import otlp


@pytest.fixture
def receiver() -> Iterator[otlp.Receiver]:
    with otlp.Receiver() as receiver:
        yield receiver


@pytest.fixture
def provider(receiver: otlp.Receiver) -> Iterator[TracerProvider]:
    provider = TracerProvider(resource=Resource.create({"service.name": "sender"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint, insecure=True)))
    yield provider
    provider.shutdown()


def test_a_received_trace_has_the_names_parents_and_attributes_that_were_sent(
    receiver: otlp.Receiver, provider: TracerProvider
) -> None:
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner", attributes={"size": 3}):
        pass

    context = outer.get_span_context()
    received = receiver.trace(f"{context.trace_id:032x}", until=lambda seen: len(seen.spans) == 2)

    (inner,) = received.named("inner")
    assert [span.name for span in received.roots] == ["outer"]
    assert received.orphans() == []
    assert received.ancestors(inner) == received.named("outer")
    assert inner.attributes == {"size": "3"}
    assert received.services == {"sender"}


def test_a_span_whose_parent_never_arrives_is_an_orphan(receiver: otlp.Receiver, provider: TracerProvider) -> None:
    remote = trace.SpanContext(trace_id=7, span_id=9, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    provider.get_tracer("test").start_span("lonely", context=context).end()

    received = receiver.settled(f"{7:032x}", quiet_seconds=0.1)

    assert [span.name for span in received.orphans()] == ["lonely"]
