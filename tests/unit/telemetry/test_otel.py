"""OpenTelemetry's variables: when there is tracing, and of which traces."""

from __future__ import annotations

import pytest

from libs.telemetry.otel import configure


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "zipkin"},
    ],
)
def test_tracing_is_off_unless_there_is_somewhere_to_send(environ: dict[str, str]) -> None:
    tracing = configure("queue", environ)
    assert not tracing.enabled
    assert not tracing.sample(1)


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        ("", "", 1.0),
        ("always_on", "", 1.0),
        ("parentbased_always_off", "", 0.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "0.5", 0.5),
        ("traceidratio", "1.5", 1.0),
        ("nobody_knows", "", 1.0),
    ],
)
def test_the_sampler_decides_by_the_trace_id(sampler: str, argument: str, share: float) -> None:
    tracing = configure(
        "queue",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "OTEL_TRACES_SAMPLER": sampler,
            "OTEL_TRACES_SAMPLER_ARG": argument,
        },
    )
    ids = [(step << 56) + 1 for step in range(256)]
    assert sum(map(tracing.sample, ids)) / len(ids) == share
    tracing.shutdown()
