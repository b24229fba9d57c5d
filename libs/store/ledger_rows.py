"""A batch of changes as rows, ready for either database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flyteidl.admin import execution_pb2

from libs.store import cache_rows, launches, rows, schema
from libs.workflow.phases import Desired
from libs.workflow.state import AbortBelow, Changes, ExecutionState


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one commit; each row at most once, as it was after its last change."""

    executions: Sequence[rows.Row]
    """Columns `key` and EXECUTION_OBSERVED."""
    nodes: Sequence[rows.Row]
    attempts: Sequence[rows.Row]
    events: Sequence[rows.Row]
    children: Sequence[rows.Row]
    """Columns of `launches`, as are those of their tags."""
    tags: Sequence[rows.Row]
    signals: Sequence[rows.Row]
    cached: Sequence[rows.Row]
    released: Sequence[rows.Row]
    aborts: Sequence[rows.Row]
    """Columns ABORT_COLUMNS."""

    @property
    def states(self) -> int:
        """How many rows hold the state of executions, nodes and attempts."""
        return len(self.executions) + len(self.nodes) + len(self.attempts)

    @property
    def plain(self) -> bool:
        """Whether there is nothing beside state and story, as in most commits."""
        return not (self.children or self.signals or self.cached or self.released or self.aborts)


def batch_of(changes: Iterable[Changes]) -> Batch:
    """The rows of `changes`. PostgreSQL refuses to upsert a row twice in one statement, so the last one stands.

    Rows that others may write or lock too are sorted, so that no two wait for each other.
    """
    changes = list(changes)
    executions: dict[int, rows.Row] = {}
    nodes: dict[tuple[int, str], rows.Row] = {}
    attempts: dict[tuple[int, str, int], rows.Row] = {}
    events: list[rows.Row] = []
    cached: dict[bytes, rows.Row] = {}
    for change in changes:
        key = change.execution.key
        if change.execution_changed:
            executions[key] = rows.observed_row(change.execution)
        for node in change.nodes.values():
            nodes[key, node.id] = rows.node_row(key, node)
        for attempt in change.attempts.values():
            attempts[key, attempt.node_id, attempt.attempt] = rows.attempt_row(key, attempt)
        events.extend(rows.event_row(key, event) for event in change.events)
        for entry in change.cached:
            cached[entry.key] = cache_rows.cache_row(key, entry)
    children = {child.key: child for change in changes for child in change.children}
    return Batch(
        [executions[key] for key in sorted(executions)],
        list(nodes.values()),
        list(attempts.values()),
        events,
        children=[launches.child_row(child) for child in children.values()],
        tags=[tag for child in children.values() for tag in _tags(child)],
        signals=[rows.signal_row(each.execution.key, signal) for each in changes for signal in each.signals],
        cached=[cached[key] for key in sorted(cached)],
        released=sorted({cache_rows.reservation_row(each) for change in changes for each in change.released}),
        aborts=list(dict.fromkeys(abort_row(each.execution.key, abort) for each in changes for abort in each.aborts)),
    )


def abort_row(key: int, abort: AbortBelow) -> rows.Row:
    """The columns ABORT_COLUMNS, of what the execution `key` has launched."""
    return key, abort.child_key, abort.cause, abort.principal


def _tags(child: ExecutionState) -> Iterator[rows.Row]:
    yield from launches.tag_rows(child.key, launches.searchable(execution_pb2.ExecutionSpec.FromString(child.spec)))


ABORT_COLUMNS = ("parent", "child", "cause", "principal")

ABORT_BELOW = f"""
WITH RECURSIVE below (key, cause, principal) AS (
    SELECT executions.key, asked.cause, asked.principal
    FROM {{asked}} JOIN executions ON executions.parent_key = asked.parent
    WHERE asked.child IS NULL AND {schema.HAS_PARENT}
    UNION
    SELECT executions.key, asked.cause, asked.principal
    FROM {{asked}} JOIN executions ON executions.key = asked.child
    WHERE executions.parent_key = asked.parent AND {schema.HAS_PARENT}
    UNION
    SELECT executions.key, below.cause, below.principal
    FROM below JOIN executions ON executions.parent_key = below.key
    WHERE {schema.HAS_PARENT}
)
UPDATE executions SET desired = {Desired.ABORT:d}, abort_cause = below.cause, abort_principal = below.principal,
    generation = generation + 1
FROM below
WHERE executions.key = below.key AND desired = {Desired.RUN:d} AND {schema.EXECUTION_IS_LIVE}
    AND EXISTS (SELECT 1 FROM leadership WHERE leadership.shard = :shard AND leadership.epoch = :epoch)
"""
"""Wants every live execution below a parent aborted, whatever its shard; `asked` is a table of ABORT_COLUMNS.

What ended is passed over with all below it: its own end has seen to that. A single child is found by its own key: where
ten thousand are aborted one by one, each must not be looked for among all of them.
"""
