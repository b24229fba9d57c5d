"""Executions as trees for people: what is worth a line, and how much there is of the rest.

An array node may have a hundred thousand items, each with nodes of its own. They are counted, not listed; only items
that have failed are worth a line. `list_nodes` and `list_attempts` of `executions` have everything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, FromClause, Select, Table, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.store import rows, schema
from libs.store.engine import reading
from libs.store.lookup import is_of
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, CacheStatus, NodeKind, NodePhase
from libs.workflow.state import AttemptState, NodeState

FAILED_ITEMS = 20
"""Failed items of an execution that are listed. Nobody reads more, and one tells what is wrong with all."""

_PART = 1_000
_FAILED = (NodePhase.FAILED.value, NodePhase.TIMED_OUT.value)


class Tree(NamedTuple):
    """What an execution consists of."""

    nodes: list[NodeState]
    attempts: list[AttemptState]
    items: Mapping[str, Mapping[NodePhase, int]]
    """Of each of these nodes that is an array: how many of its items are in which phase. Those that have not begun are
    in none."""


class Item(NamedTuple):
    """An item of an array node and its latest attempt."""

    spec_id: str
    phase: NodePhase
    attempt: int
    cache_status: CacheStatus
    task: EntityId | None
    attempt_phase: AttemptPhase | None
    """None for what has no attempt: it hit the cache, or is no task."""
    log_uri: str | None


class Source(NamedTuple):
    """The attempt that computed a cached value."""

    execution: ExecutionId
    node_id: str
    attempt: int


class Trees:
    """Reads executions whole. Every method may also raise `Unavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def tree(self, key: int) -> Tree:
        """All of an execution but the items of its arrays and what is below these, of which only some failed ones."""
        async with reading(self._engine) as connection:
            outside = await _outside_arrays(connection, key)
            arrays = [node.id for node in outside if node.kind is NodeKind.ARRAY]
            failed = await _failed_items(connection, key, arrays)
            attempts = await _attempts_outside_arrays(connection, key)
            attempts += await _attempts_of(connection, key, [node.id for node in failed])
            return Tree([*outside, *failed], attempts, await _counts(connection, key, arrays))

    async def items(self, execution: int | ExecutionId, array_id: str) -> list[Item]:
        """The items of an array node in their order; those that have not begun have no row."""
        wanted = _ITEM.where(is_of(schema.nodes, execution), schema.nodes.c.parent_id == array_id)
        async with reading(self._engine) as connection:
            found = await connection.execute(wanted.where(_below(schema.nodes, literal(array_id))))
            return [_item(row) for row in found]

    async def names(self, keys: Collection[int]) -> dict[int, ExecutionId]:
        """The names of those executions that exist."""
        table = schema.executions
        wanted = select(table.c.key, table.c.project, table.c.domain, table.c.name).where(table.c.key.in_(keys))
        if not keys:
            return {}
        async with reading(self._engine) as connection:
            return {row.key: ExecutionId(*row[1:]) for row in await connection.execute(wanted)}

    async def sources(self, cache_keys: Collection[bytes]) -> dict[bytes, Source]:
        """Where cached values come from, as far as they are still cached."""
        entries, table = schema.cache_entries, schema.executions
        wanted = (
            select(
                *(entries.c[name] for name in ("key", "node_id", "attempt")),
                *(table.c[name] for name in ("project", "domain", "name")),
            )
            .join_from(entries, table, entries.c.execution_key == table.c.key)
            .where(entries.c.key.in_(cache_keys))
        )
        if not cache_keys:
            return {}
        async with reading(self._engine) as connection:
            return {row[0]: Source(ExecutionId(*row[3:6]), row[1], row[2]) for row in await connection.execute(wanted)}


_ITEM = (
    select(
        *(schema.nodes.c[name] for name in ("node_id", "spec_id", "phase", "attempt", "cache_status")),
        *(schema.nodes.c[f"task_{part}"] for part in ("project", "domain", "name", "version")),
        schema.attempts.c.phase.label("attempt_phase"),
        schema.attempts.c.log_uri,
    )
    .join_from(
        schema.nodes,
        schema.attempts,
        (schema.attempts.c.execution_key == schema.nodes.c.execution_key)
        & (schema.attempts.c.node_id == schema.nodes.c.node_id)
        & (schema.attempts.c.attempt == schema.nodes.c.attempt),
        isouter=True,
    )
    .order_by(func.length(schema.nodes.c.node_id), schema.nodes.c.node_id)
)


def _below(table: FromClause, node_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Ids below a node begin with its own and a hyphen: a range of the index."""
    return (table.c.node_id > node_id.concat("-")) & (table.c.node_id < node_id.concat("."))


def _outside(key: int) -> CTE:
    """The nodes that are in no array: from the top downwards, not into arrays. Each level is a range of the index, so
    that the time grows with the rows, however many arrays there are.
    """
    nodes, child = schema.nodes, schema.nodes.alias("child")
    top = select(nodes.c.node_id, nodes.c.kind).where(nodes.c.execution_key == key, nodes.c.parent_id == "")
    outside = top.cte("outside", recursive=True)
    below = select(child.c.node_id, child.c.kind).where(
        outside.c.kind != NodeKind.ARRAY.value,
        child.c.execution_key == key,
        child.c.parent_id == outside.c.node_id,
        _below(child, outside.c.node_id),
    )
    return outside.union_all(below)


async def _outside_arrays(connection: AsyncConnection, key: int) -> list[NodeState]:
    columns = [schema.nodes.c[name] for name in rows.NODE_COLUMNS]
    found = await connection.execute(_among(select(*columns), schema.nodes, key))
    return [rows.node_from(row) for row in found]


async def _failed_items(connection: AsyncConnection, key: int, arrays: Sequence[str]) -> list[NodeState]:
    nodes = schema.nodes
    failed: list[NodeState] = []
    for part in _parts(arrays):
        wanted = select(*(nodes.c[name] for name in rows.NODE_COLUMNS)).where(
            nodes.c.execution_key == key, nodes.c.parent_id.in_(part), nodes.c.phase.in_(_FAILED)
        )
        first = wanted.order_by(nodes.c.ended_at_us, nodes.c.node_id).limit(FAILED_ITEMS)
        failed += [rows.node_from(row) for row in await connection.execute(first)]
    return sorted(failed, key=lambda node: (node.ended_at_us or 0, node.id))[:FAILED_ITEMS]


async def _attempts_outside_arrays(connection: AsyncConnection, key: int) -> list[AttemptState]:
    table = schema.attempts
    columns = [table.c[name] for name in rows.ATTEMPT_COLUMNS]
    return [rows.attempt_from(row) for row in await connection.execute(_among(select(*columns), table, key))]


def _among(wanted: Select[Any], table: Table, key: int) -> Select[Any]:
    """Of what belongs to nodes, that of the nodes that are in no array."""
    return wanted.where(table.c.execution_key == key, table.c.node_id.in_(select(_outside(key).c.node_id)))


async def _attempts_of(connection: AsyncConnection, key: int, node_ids: Collection[str]) -> list[AttemptState]:
    table = schema.attempts
    columns = [table.c[name] for name in rows.ATTEMPT_COLUMNS]
    wanted = select(*columns).where(table.c.execution_key == key, table.c.node_id.in_(node_ids))
    return [rows.attempt_from(row) for row in await connection.execute(wanted)]


async def _counts(
    connection: AsyncConnection, key: int, arrays: Sequence[str]
) -> Mapping[str, Mapping[NodePhase, int]]:
    nodes = schema.nodes
    counts: defaultdict[str, dict[NodePhase, int]] = defaultdict(dict)
    for part in _parts(arrays):
        wanted = (
            select(nodes.c.parent_id, nodes.c.phase, func.count())
            .where(nodes.c.execution_key == key, nodes.c.parent_id.in_(part))
            .group_by(nodes.c.parent_id, nodes.c.phase)
        )
        for parent_id, phase, count in await connection.execute(wanted):
            counts[parent_id][NodePhase(phase)] = count
    return counts


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at a time as a statement takes."""
    return (ids[first : first + _PART] for first in range(0, len(ids), _PART))


def _item(row: Any) -> Item:
    return Item(
        spec_id=row.spec_id,
        phase=NodePhase(row.phase),
        attempt=row.attempt,
        cache_status=CacheStatus(row.cache_status),
        task=None if row.task_project is None else EntityId(*row[5:9]),
        attempt_phase=None if row.attempt_phase is None else AttemptPhase(row.attempt_phase),
        log_uri=row.log_uri,
    )
