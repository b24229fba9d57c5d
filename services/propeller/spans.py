"""The spans of an execution, emitted when what they describe has ended, from the times in its rows.

Ids are derived (`TraceContext.child`), so that a child can be emitted before its parent and by another process, and a
new leader repeats a span rather than adding one.

An execution that a launch plan node has launched is part of its parent's trace: its row names the span of that node,
and its own span is derived from it.
"""

from __future__ import annotations

import functools
from typing import Final

from flyteidl.core import execution_pb2

from libs.telemetry.traces import TraceContext, Tracing
from libs.workflow.phases import AttemptPhase, NodePhase
from libs.workflow.state import AttemptState, Changes, ExecutionState, NodeState

_REMEMBERED: Final = 10_000
"""Contexts of nodes and attempts: each is asked for when it begins, is sent and ends."""


class Spans:
    """Emits the spans of executions; nearly free when nobody listens."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @property
    def enabled(self) -> bool:
        return self._tracing.enabled

    def root(self, execution: ExecutionState) -> TraceContext | None:
        """The context of the execution's own span; None when the execution is not traced."""
        context = root_context(execution)
        return context if context is not None and context.sampled else None

    def turn(self, changes: Changes, start_us: int, end_us: int, commit: tuple[int, int]) -> None:
        """A committed turn, with its commit, and whatever it has brought to an end."""
        root = self.root(changes.execution) if self._tracing.enabled else None
        if root is None:
            return
        about = {"flyte.execution.id": str(changes.execution.id)}
        turn = root.child("turn", start_us)
        self._tracing.emit("turn", turn, root.span_id, start_us, end_us, about | {"airscrew.turn.rows": changes.rows})
        self._tracing.emit("commit", turn.child("commit"), turn.span_id, *commit, about)
        for attempt in changes.attempts.values():
            if attempt.phase.terminal:
                self._attempt(root, attempt, about)
            elif attempt.phase is AttemptPhase.QUEUED and attempt.seq == 0:
                self._slot_wait(root, attempt, about)
        for node in changes.nodes.values():
            if node.phase.terminal:
                self._node(root, node, about)
        if changes.execution.phase.terminal:
            self._execution(root, changes.execution, about)

    def _slot_wait(self, root: TraceContext, attempt: AttemptState, about: dict[str, str]) -> None:
        context = attempt_context(root, attempt.node_id, attempt.attempt)
        end_us = attempt.placed_at_us or attempt.created_at_us
        self._tracing.emit(
            "wait for slot", context.child("slot"), context.span_id, attempt.created_at_us, end_us, _of(about, attempt)
        )

    def _attempt(self, root: TraceContext, attempt: AttemptState, about: dict[str, str]) -> None:
        node = _node_context(root, attempt.node_id)
        self._tracing.emit(
            "attempt",
            attempt_context(root, attempt.node_id, attempt.attempt),
            node.span_id,
            attempt.created_at_us,
            attempt.ended_at_us or attempt.created_at_us,
            _of(about, attempt)
            | {"airscrew.attempt.phase": attempt.phase.name, "airscrew.executor": attempt.executor or ""},
            error=None if attempt.phase is AttemptPhase.SUCCEEDED else attempt.reason or attempt.phase.name,
        )

    def _node(self, root: TraceContext, node: NodeState, about: dict[str, str]) -> None:
        parent = _node_context(root, node.parent_id) if node.parent_id else root
        created_us = node.created_at_us or 0
        self._tracing.emit(
            f"node {node.id}",
            _node_context(root, node.id),
            parent.span_id,
            created_us,
            node.ended_at_us or created_us,
            about | {"flyte.node.id": node.id, "flyte.node.phase": node.phase.name},
            error=_message(node.error) if node.phase is NodePhase.FAILED else None,
        )

    def _execution(self, root: TraceContext, execution: ExecutionState, about: dict[str, str]) -> None:
        self._tracing.emit(
            "execution",
            root,
            _launching_span(execution),
            execution.created_at_us,
            execution.ended_at_us or execution.updated_at_us,
            about | {"flyte.execution.phase": execution.phase.name},
            error=_message(execution.error),
        )


def root_context(execution: ExecutionState) -> TraceContext | None:
    """The context of an execution's own span."""
    context = _parsed(execution.traceparent)
    if context is None or not execution.parent_node_id:
        return context
    return context.child("execution", execution.key)


def child_traceparent(parent: ExecutionState, node_id: str) -> str:
    """What the row of an execution says that this node launches."""
    context = root_context(parent)
    return context.child("node", node_id).traceparent() if context else ""


def _launching_span(execution: ExecutionState) -> int | None:
    launching = _parsed(execution.traceparent) if execution.parent_node_id else None
    return launching.span_id if launching else None


_parsed = functools.lru_cache(_REMEMBERED)(TraceContext.parse)


@functools.lru_cache(_REMEMBERED)
def attempt_context(root: TraceContext, node_id: str, attempt: int) -> TraceContext:
    """The context of an attempt's span: the parent of whatever its executor emits."""
    return _node_context(root, node_id).child("attempt", attempt)


@functools.lru_cache(_REMEMBERED)
def _node_context(root: TraceContext, node_id: str) -> TraceContext:
    return root.child("node", node_id)


def _of(about: dict[str, str], attempt: AttemptState) -> dict[str, str | int]:
    return {**about, "flyte.node.id": attempt.node_id, "flyte.attempt": attempt.attempt}


def _message(error: bytes | None) -> str | None:
    if error is None:
        return None
    return str(execution_pb2.ExecutionError.FromString(error).message)
