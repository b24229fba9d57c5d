"""A batch of changes, ready for either database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from flyteidl.admin import execution_pb2

from libs.store import cache_rows, launches, rows, schema
from libs.workflow.phases import Desired
from libs.workflow.state import AbortBelow, AttemptState, Changes, ExecutionState, NodeState


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit writes: each state at most once, as it was after its last change; what else there is as rows."""

    executions: Sequence[ExecutionState]
    """In the order of their keys."""
    nodes: Sequence[tuple[int, NodeState]]
    """Each with the key of its execution, as are the attempts."""
    attempts: Sequence[tuple[int, AttemptState]]
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
    """What is to be written for `changes`. PostgreSQL refuses to upsert a row twice in one statement, so the last one
    stands.

    Rows that others may write or lock too are sorted, so that no two wait for each other.
    """
    changes = sorted(_merged(changes), key=lambda each: each.execution.key)
    keyed = [(each.execution.key, each) for each in changes]
    more = [(key, each) for key, each in keyed if each.more]
    children = {child.key: child for _, each in more for child in each.children}
    cached = {entry.key: cache_rows.cache_row(key, entry) for key, each in more for entry in each.cached}
    return Batch(
        [each.execution for each in changes if each.execution_changed],
        [(key, node) for key, each in keyed for node in each.nodes.values()],
        [(key, attempt) for key, each in keyed for attempt in each.attempts.values()],
        [rows.event_row(key, event) for key, each in keyed for event in each.events],
        children=[launches.child_row(child) for child in children.values()],
        tags=[tag for child in children.values() for tag in _tags(child)],
        signals=[rows.signal_row(key, signal) for key, each in more for signal in each.signals],
        cached=[cached[key] for key in sorted(cached)],
        released=sorted({cache_rows.reservation_row(reservation) for _, each in more for reservation in each.released}),
        aborts=list(dict.fromkeys(abort_row(key, abort) for key, each in more for abort in each.aborts)),
    )


def _merged(changes: Iterable[Changes]) -> Collection[Changes]:
    """One for each execution."""
    merged: dict[int, Changes] = {}
    for each in changes:
        key = each.execution.key
        merged[key] = _both(merged[key], each) if key in merged else each
    return merged.values()


def _both(first: Changes, then: Changes) -> Changes:
    return Changes(
        then.execution,
        first.execution_changed or then.execution_changed,
        first.nodes | then.nodes,
        first.attempts | then.attempts,
        first.events + then.events,
        first.children + then.children,
        first.aborts + then.aborts,
        first.signals + then.signals,
        first.cached + then.cached,
        first.released + then.released,
    )


def abort_row(key: int, abort: AbortBelow) -> rows.Row:
    """The columns ABORT_COLUMNS, of what the execution `key` has launched."""
    return key, abort.child_key, abort.cause, abort.principal


def _tags(child: ExecutionState) -> Iterator[rows.Row]:
    yield from launches.tag_rows(child.key, launches.searchable(execution_pb2.ExecutionSpec.FromString(child.spec)))


ABORT_COLUMNS: tuple[str, ...] = ("parent", "child", "cause", "principal")

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
