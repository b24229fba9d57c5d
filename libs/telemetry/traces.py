"""One trace per execution, whose spans are emitted once, at their end, with ids that were known from the start.

A stock tracer invents a span's id when the span starts and keeps the span in memory until it ends. An execution may
last for days and change its leader in between. So here ids are derived: the client or `mint` gives the root's, and
`TraceContext.child` computes each child's from its parent's and from what the child is ("node", "n0"). Whoever finishes
a piece of work can then emit its span, and name a parent that will be emitted later or by another process.

The names of the spans: root `execution` · `root.child("submit")` · `root.child("node", node_id)` · of an attempt
`node.child("attempt", number)` · `root.child("queue", …)` · `root.child("turn", number)`. A derived id means that
emitting a span twice, after a restart for example, is a repetition and not a second span.

Guarantee: `Tracing.emit` never blocks and never raises; without an endpoint it costs one attribute read. Spans that the
collector does not take in time are dropped, oldest first, as OpenTelemetry's batch processor does.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

logger = logging.getLogger(__name__)

Attribute = str | bool | int | float

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED_FLAG = 0x01
NOT_SAMPLED = "-00"
"""How our own traceparents of what nobody records end."""
_LOW_64_BITS = (1 << 64) - 1


class TraceContext(NamedTuple):
    """Which trace a piece of work belongs to and which span it is (W3C Trace Context)."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def parse(cls, traceparent: str) -> TraceContext | None:
        """Reads a `traceparent` header; None when it is absent or malformed, as the standard wants."""
        match = _TRACEPARENT.fullmatch(traceparent.strip())
        if match is None:
            return None
        version, trace_id, span_id, flags, rest = match.groups()
        if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED_FLAG))

    @classmethod
    def mint(cls, entropy: bytes, sampled: bool) -> TraceContext:
        """The root of a new trace from at least 16 random bytes."""
        digest = hashlib.blake2b(entropy, digest_size=24).digest()
        return cls(int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:], "big") or 1, sampled)

    def traceparent(self) -> str:
        """The header that hands this context on."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"

    def child(self, *parts: object) -> TraceContext:
        """The span below this one that `parts` name: the same parts give the same span, everywhere and for ever."""
        named = [self.span_id.to_bytes(8, "big")]
        for part in parts:
            text = str(part).encode()
            named += (len(text).to_bytes(4, "big"), text)
        digest = hashlib.blake2b(b"".join(named), digest_size=8).digest()
        return TraceContext(self.trace_id, int.from_bytes(digest, "big") or 1, self.sampled)


class Span(NamedTuple):
    """A finished piece of work. Times are microseconds since the epoch."""

    name: str
    context: TraceContext
    parent_span_id: int | None
    start_us: int
    end_us: int
    attributes: Mapping[str, Attribute]
    error: str | None
    links: Sequence[TraceContext]


class Exporter(Protocol):
    """Where finished spans go."""

    def export(self, span: Span) -> None:
        """Takes a span; must not block."""

    def close(self) -> None:
        """Sends what is left, within a bounded time."""


class Tracing:
    """The process's way to emit spans; harmless and nearly free when there is no `exporter`."""

    def __init__(self, exporter: Exporter | None = None, ratio: float = 1.0) -> None:
        self._exporter = exporter
        self._bound = round(ratio * (1 << 64))
        self.enabled = exporter is not None

    def sample(self, trace_id: int) -> bool:
        """Whether a trace that starts here is recorded: always the same answer for the same id."""
        return self.enabled and (trace_id & _LOW_64_BITS) < self._bound

    def emit(
        self,
        name: str,
        context: TraceContext,
        parent_span_id: int | None,
        start_us: int,
        end_us: int,
        attributes: Mapping[str, Attribute] | None = None,
        error: str | None = None,
        links: Sequence[TraceContext] = (),
    ) -> None:
        """Records the span `context`, which ran from `start_us` to `end_us`, below `parent_span_id` (None: a root).

        Does nothing when tracing is off or the trace is not sampled. `error` marks the span as failed and says why.
        """
        if self._exporter is None or not context.sampled:
            return
        try:
            self._exporter.export(
                Span(name, context, parent_span_id, start_us, end_us, attributes or {}, error, tuple(links))
            )
        except Exception:
            logger.exception("span %r was not recorded", name)

    def shutdown(self) -> None:
        """Sends what is left, within a bounded time, and turns tracing off."""
        exporter, self._exporter, self.enabled = self._exporter, None, False
        if exporter is not None:
            exporter.close()
