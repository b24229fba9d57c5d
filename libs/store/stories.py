"""What it takes to say why an execution stands where it stands, and what has happened in it.

Every answer is bounded, whatever the size of the execution.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, String, case, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import rows, schema
from libs.store.engine import reading
from libs.store.query import Query
from libs.store.records import LeaderRow, Page
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import AttemptPhase, NodePhase
from libs.workflow.state import AttemptState, NodeState, RecordedEvent

_FINAL_NODES = tuple(phase.value for phase in NodePhase if phase.terminal)
_FINAL_ATTEMPTS = tuple(phase.value for phase in AttemptPhase if phase.terminal)
_FAILED = (NodePhase.FAILED.value, NodePhase.TIMED_OUT.value)


class Computing(NamedTuple):
    """The node that computes a value which others wait for."""

    execution: ExecutionId
    node_id: str
    since_us: int


class OpenSignal(NamedTuple):
    """A signal that a gate waits for."""

    id: str
    node_id: str
    since_us: int


class Stories:
    """Reads what explains. Every method may also raise `Unavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def open_nodes(self, key: int, limit: int, below: str = "") -> list[NodeState]:
        """Nodes that are not final and have none below them that are not; the oldest first."""
        nodes, inner = schema.nodes, schema.nodes.alias("inner")
        # One look at the execution's nodes, not one for each of them: there is no index by parent.
        parents = select(inner.c.parent_id).where(inner.c.execution_key == key, inner.c.phase.not_in(_FINAL_NODES))
        wanted = _NODE.where(
            nodes.c.execution_key == key, nodes.c.phase.not_in(_FINAL_NODES), nodes.c.node_id.not_in(parents)
        )
        if below:
            wanted = wanted.where(nodes.c.node_id > f"{below}-", nodes.c.node_id < f"{below}.")
        async with reading(self._engine) as connection:
            found = await connection.execute(wanted.order_by(nodes.c.created_at_us, nodes.c.node_id).limit(limit))
            return [rows.node_from(row) for row in found]

    async def count_open(self, key: int) -> int:
        """How many nodes are not final."""
        nodes = schema.nodes
        wanted = select(func.count()).where(nodes.c.execution_key == key, nodes.c.phase.not_in(_FINAL_NODES))
        async with reading(self._engine) as connection:
            return int((await connection.execute(wanted)).scalar_one())

    async def first_failed(self, key: int, parent_id: str) -> NodeState | None:
        """Of the nodes directly in another one ("": in none) the one that failed first."""
        nodes = schema.nodes
        wanted = _NODE.where(nodes.c.execution_key == key, nodes.c.parent_id == parent_id, nodes.c.phase.in_(_FAILED))
        async with reading(self._engine) as connection:
            found = await connection.execute(wanted.order_by(nodes.c.ended_at_us, nodes.c.node_id).limit(1))
            row = found.one_or_none()
            return None if row is None else rows.node_from(row)

    async def attempts(self, key: int, node_ids: Collection[str]) -> list[AttemptState]:
        """All attempts of these nodes, in order."""
        table = schema.attempts
        wanted = select(*(table.c[name] for name in rows.ATTEMPT_COLUMNS)).where(
            table.c.execution_key == key, table.c.node_id.in_(node_ids)
        )
        async with reading(self._engine) as connection:
            found = await connection.execute(wanted.order_by(table.c.node_id, table.c.attempt))
            return [rows.attempt_from(row) for row in found]

    async def count_running(self, key: int) -> int:
        """How many attempts are under way: what max_parallelism counts."""
        table = schema.attempts
        wanted = select(func.count()).where(table.c.execution_key == key, table.c.phase.not_in(_FINAL_ATTEMPTS))
        async with reading(self._engine) as connection:
            return int((await connection.execute(wanted)).scalar_one())

    async def open_signals(self, key: int, node_ids: Collection[str]) -> list[OpenSignal]:
        """What these gates wait for."""
        table = schema.signals
        wanted = select(table.c.signal_id, table.c.node_id, table.c.created_at_us).where(
            table.c.execution_key == key, table.c.node_id.in_(node_ids), table.c.value.is_(None)
        )
        async with reading(self._engine) as connection:
            return [OpenSignal(*row) for row in await connection.execute(wanted)]

    async def computing(self, cache_keys: Collection[bytes]) -> dict[bytes, Computing]:
        """Who computes these values of the cache now."""
        table, executions = schema.cache_reservations, schema.executions
        wanted = (
            select(
                *(table.c[name] for name in ("key", "node_id", "created_at_us")),
                *(executions.c[name] for name in ("project", "domain", "name")),
            )
            .join_from(table, executions, table.c.execution_key == executions.c.key)
            .where(table.c.key.in_(cache_keys))
        )
        async with reading(self._engine) as connection:
            return {
                row[0]: Computing(ExecutionId(*row[3:6]), row[1], row[2]) for row in await connection.execute(wanted)
            }

    async def leader(self, shard: int) -> LeaderRow | None:
        """Who was the last to claim a shard; None when nobody ever has."""
        wanted = select(*(schema.leadership.c[name] for name in LeaderRow.__slots__)).where(
            schema.leadership.c.shard == shard
        )
        async with reading(self._engine) as connection:
            row = (await connection.execute(wanted)).one_or_none()
            return None if row is None else LeaderRow(*row)

    async def events(self, key: int, query: Query, node_id: str = "") -> Page[RecordedEvent]:
        """What has happened, in order of time: what was recorded, and what the rows of attempts say of themselves."""
        story = union_all(_recorded(key, node_id), *_of_attempts(key, node_id)).subquery()
        order = (story.c.at_us, story.c.place, story.c.node_id, story.c.attempt)
        columns = [story.c[name] for name in ("at_us", "kind", "node_id", "attempt", "message")]
        wanted = select(*columns).order_by(*order).limit(query.rows + 1).offset(query.offset)
        async with reading(self._engine) as connection:
            found: Sequence[RecordedEvent] = [RecordedEvent(*row) for row in await connection.execute(wanted)]
        token = str(query.offset + query.rows) if len(found) > query.rows else ""
        return Page(found[: query.rows], token)


_NODE = select(*(schema.nodes.c[name] for name in rows.NODE_COLUMNS))

_BEFORE, _AFTER = -1, 2**62
"""Of what happens at one moment: an attempt's end comes before what is recorded, for that follows from it; its
placement and start come after, for they follow from that."""


def _recorded(key: int, node_id: str) -> Select[tuple[object, ...]]:
    table = schema.events
    columns = [table.c[name] for name in ("at_us", "kind", "node_id", "attempt", "message")]
    wanted = select(table.c.id.label("place"), *columns).where(table.c.execution_key == key)
    return wanted.where(table.c.node_id == node_id) if node_id else wanted


def _of_attempts(key: int, node_id: str) -> list[Select[tuple[object, ...]]]:
    table = schema.attempts
    nothing: ColumnElement[str] = literal("", String)
    on = literal("on ", String).concat(func.coalesce(table.c.executor, ""))
    ended = case(
        (table.c.phase == AttemptPhase.SUCCEEDED.value, literal("AttemptSucceeded", String)),
        else_=literal("AttemptEnded", String),
    )
    at_once = or_(table.c.ended_at_us == table.c.placed_at_us, table.c.ended_at_us == table.c.started_at_us)
    last = case((at_once, literal(_AFTER + 2, BigInteger)), else_=literal(_BEFORE, BigInteger))
    moments = [
        (table.c.placed_at_us, literal(_AFTER, BigInteger), literal("AttemptPlaced", String), on),
        (table.c.started_at_us, literal(_AFTER + 1, BigInteger), literal("AttemptStarted", String), nothing),
        (table.c.ended_at_us, last, ended, table.c.reason),
    ]
    selects: list[Select[tuple[object, ...]]] = []
    for moment, place, kind, message in moments:
        wanted = select(
            place.label("place"),
            moment.label("at_us"),
            kind.label("kind"),
            table.c.node_id,
            table.c.attempt,
            message.label("message"),
        ).where(table.c.execution_key == key, moment.is_not(None))
        selects.append(wanted.where(table.c.node_id == node_id) if node_id else wanted)
    return selects
