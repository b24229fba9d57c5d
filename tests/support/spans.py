"""Tracing that a test can look at: an exporter that keeps what it is given."""

from __future__ import annotations

from libs.telemetry.traces import Span


class Kept:
    """The spans that were emitted, in their order."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.closed = False

    def export(self, span: Span) -> None:
        self.spans.append(span)

    def close(self) -> None:
        self.closed = True

    def by_name(self) -> dict[str, Span]:
        """The latest of each name."""
        return {span.name: span for span in self.spans}
