"""What OpenTelemetry's standard variables ask for: whether there are traces, metrics and logs, and where they go."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from libs.telemetry.metrics import Exporter, Metering
from libs.telemetry.traces import Tracing

logger = logging.getLogger(__name__)


def configure(service: str, environ: Mapping[str, str] | None = None) -> Tracing:
    """Tracing as OpenTelemetry's standard variables ask for it.

    It is on when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, unless
    `OTEL_SDK_DISABLED=true` or `OTEL_TRACES_EXPORTER=none`. `OTEL_TRACES_SAMPLER` and its `_ARG` decide about traces
    that start here. Endpoint, headers, certificates, batch sizes and resource attributes are read by the SDK itself.
    """
    source = os.environ if environ is None else environ
    if not _wanted(source, "TRACES"):
        return Tracing()
    # Importing the SDK and its exporter takes longer than starting a service: only those who trace pay.
    from libs.telemetry import otlp

    return Tracing(otlp.OtlpExporter(service), _ratio(source))


def metering(service: str, environ: Mapping[str, str] | None = None, scraped_at: str = "") -> Metering:
    """Metrics as OpenTelemetry's standard variables ask for them, and for Prometheus at `scraped_at` (`host:port`).

    They are sent when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` is set, unless
    `OTEL_METRICS_EXPORTER=none`. How often they are sent (`OTEL_METRIC_EXPORT_INTERVAL`, 60,000 ms) is read by the SDK
    itself. `OTEL_SDK_DISABLED=true` turns off both. Raises OSError when `scraped_at` cannot be listened on.
    """
    source = os.environ if environ is None else environ
    sends = _wanted(source, "METRICS")
    if _disabled(source) or not (sends or scraped_at):
        return Metering()
    page = None
    if scraped_at:
        from libs.telemetry import prometheus

        page = prometheus.Page(scraped_at)

    def connect() -> Exporter:
        from libs.telemetry import otlp

        readers = [otlp.sender()] if sends else []
        if page is not None:
            readers.append(page.reader)
        return otlp.SdkMetrics(service, *readers)

    return Metering(connect) if page is None else Metering(connect, page.close, page.port)


def logs_handler(
    service: str, environ: Mapping[str, str] | None = None
) -> tuple[logging.Handler, Callable[[], None]] | None:
    """What sends log records, and what ends it within a bounded time; None unless `OTEL_LOGS_EXPORTER=otlp` and there
    is an endpoint. Logs go to standard error in any case, where most platforms collect them: so they are not sent too
    without being asked for.
    """
    source = os.environ if environ is None else environ
    if source.get("OTEL_LOGS_EXPORTER", "").strip() != "otlp" or not _wanted(source, "LOGS"):
        return None
    from libs.telemetry import otlp

    handler = otlp.OtlpLogs(service)
    return handler, handler.finish


def _wanted(environ: Mapping[str, str], signal: str) -> bool:
    endpoint = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint or _disabled(environ):
        return False
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "").strip() or "otlp"
    if exporter not in ("otlp", "none"):
        logger.warning(
            "OTEL_%s_EXPORTER=%s is not supported, only otlp is: %s are off", signal, exporter, signal.lower()
        )
    return exporter == "otlp"


def _disabled(environ: Mapping[str, str]) -> bool:
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _ratio(environ: Mapping[str, str]) -> float:
    """The share of new traces to record. A trace that arrives with a context keeps the sender's decision."""
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    kind = sampler.removeprefix("parentbased_")
    if kind == "always_off":
        return 0.0
    if kind == "traceidratio":
        return _ratio_argument(environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip())
    if kind != "always_on":
        logger.warning("OTEL_TRACES_SAMPLER=%s is not known: every trace is recorded", sampler)
    return 1.0


def _ratio_argument(text: str) -> float:
    try:
        ratio = float(text or "1")
    except ValueError:
        ratio = -1.0
    if 0.0 <= ratio <= 1.0:
        return ratio
    logger.warning("OTEL_TRACES_SAMPLER_ARG=%s is not a number from 0 to 1: every trace is recorded", text)
    return 1.0
