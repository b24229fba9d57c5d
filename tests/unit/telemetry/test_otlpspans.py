"""Our encoding of spans says what the SDK's own says."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from libs.telemetry.otlpspans import Queued, SpanSender
from libs.telemetry.traces import Span, TraceContext

RESOURCE = Resource({"service.name": "airscrew-test", "host.cpus": 2})
ROOT = TraceContext(1 << 100, 77, True)
SPANS = [
    Span("execution", ROOT, None, 5, 9, {}, None, ()),
    Span(
        "node n0",
        ROOT.child("node", "n0"),
        ROOT.span_id,
        6,
        8,
        {"text": "x", "yes": True, "one": 1, "part": 1.0, "none": 0, "no": False},
        "it broke",
        (TraceContext(3, 4, True),),
    ),
]


def sdk_context(context: TraceContext) -> trace.SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.SpanContext(context.trace_id, context.span_id, is_remote=False, trace_flags=flags)


def sdk_span(span: Span) -> ReadableSpan:
    parent = None if span.parent_span_id is None else sdk_context(span.context._replace(span_id=span.parent_span_id))
    return ReadableSpan(
        name=span.name,
        context=sdk_context(span.context),
        parent=parent,
        resource=RESOURCE,
        attributes=dict(span.attributes),
        links=[trace.Link(sdk_context(link)) for link in span.links],
        status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(StatusCode.UNSET),
        start_time=span.start_us * 1_000,
        end_time=span.end_us * 1_000,
        instrumentation_scope=InstrumentationScope("airscrew"),
    )


def test_a_batch_becomes_the_message_that_the_sdk_makes_of_it() -> None:
    sender = SpanSender(RESOURCE, "airscrew")
    try:
        for _ in range(2):  # the second time some of it is remembered
            ours = sender._translate_data(list(map(Queued, SPANS)))
            assert ours == encode_spans(list(map(sdk_span, SPANS)))
    finally:
        sender.shutdown()
