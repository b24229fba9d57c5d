"""The trace of an execution: the caller's if it sent one, a new one otherwise; and the span of its submission."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from libs.runtime.clock import Clock
from libs.telemetry.traces import TraceContext, Tracing
from libs.workflow.identity import ExecutionId


class Spans:
    """Makes the contexts of root spans and emits the spans of submissions."""

    def __init__(self, tracing: Tracing, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self._tracing = tracing
        self._clock = clock
        self._entropy = entropy

    def roots(self, traceparent: str, keys: Sequence[int]) -> list[TraceContext]:
        """The contexts of executions' root spans, by their keys.

        In the caller's trace it is a root of its own: the caller's span may have ended, or never be exported, long
        before the execution ends, and nothing may be left without its parent. The submission links to the caller
        instead.
        """
        caller = TraceContext.parse(traceparent)
        if caller is not None:
            return [caller.child("execution", key) for key in keys]
        noise = self._entropy(16 * len(keys))  # once for all: each time asks the kernel
        minted = [TraceContext.mint(noise[at : at + 16], sampled=False) for at in range(0, len(noise), 16)]
        return [each._replace(sampled=True) if self._tracing.sample(each.trace_id) else each for each in minted]

    def submitted(self, id: ExecutionId, root: TraceContext, traceparent: str, started_us: int) -> None:
        """Emits the span of a submission that is durable now. `traceparent` is the caller's, or empty."""
        caller = TraceContext.parse(traceparent)
        self._tracing.emit(
            "submit",
            root.child("submit"),
            root.span_id,
            started_us,
            self._clock.now_us(),
            {"flyte.execution.id": str(id)},
            links=() if caller is None else (caller,),
        )
