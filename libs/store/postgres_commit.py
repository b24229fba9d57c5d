"""The statement of a commit into PostgreSQL: fence, states, story, and whatever else there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from psycopg.types.numeric import Int8

from libs.store import cache_rows, launches, rows, schema
from libs.store.ledger_rows import Batch
from libs.store.postgres_parts import NOTHING, Part


def commit_of(shard: int, epoch: int, batch: Batch) -> tuple[str, list[Any]]:
    """The statement, and its parameters. It answers with whether `epoch` is the shard's, and how many states it has
    written."""
    kinds: list[int] = []
    values: list[Any] = [Int8(shard), Int8(epoch)]
    for part, found in zip(_PARTS, _rows(batch), strict=True):
        kind, parameters = part.arrays(found)
        kinds.append(kind)
        values += parameters
    return _statement(tuple(kinds)), values


def _rows(batch: Batch) -> Iterable[Iterable[rows.Row]]:
    """In the order of _PARTS."""
    return (
        [rows.observed_row(each) for each in batch.executions],
        [rows.node_row(*each) for each in batch.nodes],
        [rows.attempt_row(*each) for each in batch.attempts],
        batch.events,
        batch.children,
        batch.tags,
        batch.signals,
        batch.cached,
        batch.released,
    )


@cache
def _statement(kinds: tuple[int, ...]) -> str:
    parts = [(part, kind) for part, kind in zip(_PARTS, kinds, strict=True) if kind != NOTHING]
    written = " + ".join(f"(SELECT count(*) FROM {part.name})" for part, _ in parts if part.counted)
    steps = ", ".join([_FENCE, *(part.statement(kind) for part, kind in parts)])
    return f"WITH {steps} SELECT (SELECT count(*) FROM leader), {written or 0}"


_FENCE = """
fence AS MATERIALIZED (SELECT shard, epoch FROM leadership WHERE shard = %b FOR SHARE),
leader AS MATERIALIZED (SELECT shard FROM fence WHERE epoch = %b)
"""


def _update_executions(columns: Sequence[str], new: str) -> str:
    values = {name: f"new.{name}" for name in columns}
    changes = ", ".join(f"{name} = {values.get(name, 'NULL')}" for name in rows.EXECUTION_OBSERVED)
    # The sums keep the planner from looking for a row among all that are live (in the shard), by their index: while it
    # knows nothing of the table, it takes them for a handful.
    live = schema.of("executions", schema.EXECUTION_IS_LIVE).replace("phase", "phase + 0")
    return (
        f"UPDATE executions SET {changes} FROM leader, {new} "
        f"WHERE executions.key = new.key AND executions.shard + 0 = leader.shard AND {live} RETURNING 1"
    )


def _insert(table: str, more: str = "") -> Callable[[Sequence[str], str], str]:
    return lambda columns, new: f"INSERT INTO {table} ({', '.join(columns)}) SELECT new.* FROM leader, {new} {more}"


def _upsert(
    table: str, all_columns: Sequence[str], key: Sequence[str], unless: str = ""
) -> Callable[[Sequence[str], str], str]:
    changes = ", ".join(f"{name} = excluded.{name}" for name in all_columns if name not in key)
    condition = f" WHERE NOT {schema.of(table, unless)}" if unless else ""
    return _insert(table, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}{condition} RETURNING 1")


def _release(columns: Sequence[str], new: str) -> str:
    same = " AND ".join(f"old.{name} = new.{name}" for name in columns)
    return f"DELETE FROM cache_reservations AS old USING leader, {new} WHERE {same}"


# A child that is there already is passed over; one of another parent is refused, by the table's keys.
_UNLESS_THERE = """
WHERE NOT EXISTS (
    SELECT 1 FROM executions AS old
    WHERE old.key = new.key AND old.parent_key = new.parent_key AND old.parent_node_id = new.parent_node_id
)
"""
_NODE_KEY = ("execution_key", "node_id")
_ATTEMPT_KEY = (*_NODE_KEY, "attempt")

_PARTS = (
    Part(
        "executions",
        ("key", *rows.EXECUTION_OBSERVED),
        _update_executions,
        seldom=("next_wake_at_us", "outputs_uri", "error"),
        counted=True,
    ),
    Part(
        "nodes",
        rows.NODE_COLUMNS,
        _upsert("nodes", rows.NODE_COLUMNS, _NODE_KEY, schema.NODE_IS_FINAL),
        seldom=(
            "wake_at_us",
            "inputs_uri",
            "outputs_uri",
            "error",
            "deck_uri",
            "choice",
            "child_key",
            "futures_uri",
            "closure_uri",
            "items",
            "cache_key",
        ),
        counted=True,
    ),
    Part(
        "attempts",
        rows.ATTEMPT_COLUMNS,
        _upsert("attempts", rows.ATTEMPT_COLUMNS, _ATTEMPT_KEY, schema.ATTEMPT_IS_FINAL),
        seldom=("error", "checkpoint_uri"),
        counted=True,
    ),
    Part("events", rows.EVENT_COLUMNS, _insert("events")),
    Part("executions", launches.COLUMNS, _insert("executions", _UNLESS_THERE), name="new_children"),
    Part("execution_tags", launches.TAG_COLUMNS, _insert("execution_tags", "ON CONFLICT DO NOTHING")),
    Part("signals", rows.SIGNAL_COLUMNS, _insert("signals", "ON CONFLICT DO NOTHING")),
    Part("cache_entries", cache_rows.CACHE_COLUMNS, _upsert("cache_entries", cache_rows.CACHE_COLUMNS, ("key",))),
    Part("cache_reservations", cache_rows.RESERVATION_COLUMNS, _release),
)
