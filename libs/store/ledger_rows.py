"""A batch of changes as rows, ready for either database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from libs.store import rows
from libs.workflow.state import Changes


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one commit; each row at most once, as it was after its last change."""

    executions: Sequence[rows.Row]
    """Columns `key` and EXECUTION_OBSERVED."""
    nodes: Sequence[rows.Row]
    attempts: Sequence[rows.Row]
    events: Sequence[rows.Row]

    @property
    def states(self) -> int:
        """How many rows hold state, that is all but the events."""
        return len(self.executions) + len(self.nodes) + len(self.attempts)


def batch_of(changes: Iterable[Changes]) -> Batch:
    """The rows of `changes`. PostgreSQL refuses to upsert a row twice in one statement, so the last one stands."""
    executions: dict[int, rows.Row] = {}
    nodes: dict[tuple[int, str], rows.Row] = {}
    attempts: dict[tuple[int, str, int], rows.Row] = {}
    events: list[rows.Row] = []
    for change in changes:
        key = change.execution.key
        if change.execution_changed:
            executions[key] = rows.observed_row(change.execution)
        for node in change.nodes.values():
            nodes[key, node.id] = rows.node_row(key, node)
        for attempt in change.attempts.values():
            attempts[key, attempt.node_id, attempt.attempt] = rows.attempt_row(key, attempt)
        events.extend(rows.event_row(key, event) for event in change.events)
    return Batch(list(executions.values()), list(nodes.values()), list(attempts.values()), events)
