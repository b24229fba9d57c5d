"""Executions as everybody but their leader sees them: submitted, asked to abort, read.

Only what is *wanted* is written here. What *is* comes from the leader's commits (`ledger`), and reads find whatever the
last one left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import fields, launches, rows, schema
from libs.store.bykey import by_key
from libs.store.engine import reading, writing
from libs.store.listing import page_of, select_page
from libs.store.lookup import is_below, is_named, is_of, unknown
from libs.store.query import Query
from libs.store.records import AbortAnswer, ExecutionRecord, Page
from libs.store.submissions import Submissions, Tags, Verdict
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired
from libs.workflow.state import AttemptState, NodeState, RecordedEvent


class AttemptRecord(NamedTuple):
    """An attempt with the node it is of."""

    attempt: AttemptState
    node: NodeState


class ItemRecord(NamedTuple):
    """An item of an array node, with its latest attempt where it has one (an item that is a workflow has none)."""

    node: NodeState
    attempt: AttemptState | None


class Executions:
    """Executions, their nodes and attempts. Every method may also raise `Unavailable`.

    Where an execution is named, its key or its id will do. Lists of an unknown execution are empty.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._submissions = Submissions(engine.url)
        self._by_key = by_key(engine.url)

    async def close(self) -> None:
        """Waits until every submission has been answered. The engine stays open."""
        await self._submissions.close()
        await self._by_key.close()

    @property
    def transactions(self) -> int:
        """How many have stored new executions."""
        return self._submissions.transactions

    # ----------------------------------------------------------------------------------------------------- wishes

    async def create(self, record: ExecutionRecord, tags: Tags = ()) -> None:
        """Stores a new execution; returns when it is durable. Concurrent calls share commits.

        Raises AlreadyExists when the name is taken, even by one that has been collected, NotFound when what it recovers
        has been collected, Refused when its key is, or when the database cannot store a value,
        and FailedPrecondition when its parent has ended or is about to: whatever the parent's end is, it has seen all
        that it has launched.
        """
        (verdict,) = await self._submissions.submit([(record, tags)])
        if verdict is not None:
            raise verdict

    async def create_many(self, records: Sequence[tuple[ExecutionRecord, Tags]]) -> Sequence[Verdict]:
        """Stores new executions with their tags as `create` does; returns what it would have raised for each, or None.

        Whatever keeps the database from answering at all is raised; then some may be stored and others not.
        """
        return await self._submissions.submit(records)

    async def request_abort(self, id: ExecutionId, cause: str, principal: str) -> AbortAnswer:
        """Records that the execution is to be aborted and raises its generation, unless it is final or that is wanted
        already. Raises NotFound.
        """
        table = schema.executions
        columns = (table.c.key, table.c.shard)
        wish = (
            update(table)
            .where(is_named(table, id), table.c.desired != Desired.ABORT.value, schema.live(table))
            .values(
                desired=Desired.ABORT.value,
                abort_cause=cause,
                abort_principal=principal,
                generation=table.c.generation + 1,
            )
            .returning(*columns)
        )
        async with writing(self._engine) as connection:
            changed = (await connection.execute(wish)).one_or_none()
            if changed is not None:
                return AbortAnswer(changed.key, changed.shard, True)
            there = select(*columns).where(is_named(table, id), table.c.collected_at_us.is_(None))
            found = (await connection.execute(there)).one_or_none()
            if found is None:
                raise await unknown(connection, id)
        return AbortAnswer(found.key, found.shard, False)

    # ------------------------------------------------------------------------------------------------- executions

    async def get(self, id: ExecutionId) -> ExecutionRecord:
        """Raises NotFound."""
        async with reading(self._engine) as connection:
            found = await connection.execute(_EXECUTION.where(is_named(schema.executions, id)))
            row = found.one_or_none()
            if row is None:
                raise await unknown(connection, id)
        return _execution(row)

    async def get_by_key(self, keys: Sequence[int]) -> Sequence[ExecutionRecord]:
        """Those of `keys` that exist, in order of their keys."""
        return [_execution(row) for row in await self._by_key.read(keys)]

    async def list(self, query: Query) -> Page[ExecutionRecord]:
        """Executions, newest first."""
        statement = select_page(_EXECUTION, fields.EXECUTIONS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _execution)

    async def list_of(self, query: Query, keys: Sequence[int]) -> Sequence[ExecutionRecord]:
        """Those of these executions that `query` asks for; its order, limit and token do not matter."""
        table = schema.executions
        statement = select_page(
            _EXECUTION.where(table.c.key.in_(keys)), fields.EXECUTIONS, replace(query, limit=len(keys))
        )
        async with reading(self._engine) as connection:
            return [_execution(row) for row in await connection.execute(statement)]

    # ------------------------------------------------------------------------------------------ nodes and attempts

    async def list_nodes(
        self, query: Query, execution: int | ExecutionId, parent: str | None = None
    ) -> Page[NodeState]:
        """Nodes in order of creation: those below the node `parent`, those at the top level for "", all for None."""
        table = schema.nodes
        nodes = _NODE.where(is_of(table, execution))
        if parent is not None:
            nodes = nodes.where(table.c.parent_id == parent)
        statement = select_page(nodes, fields.NODES, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, rows.node_from)

    async def get_node(self, execution: int | ExecutionId, node_id: str) -> NodeState:
        """Raises NotFound."""
        table = schema.nodes
        async with reading(self._engine) as connection:
            found = await connection.execute(_NODE.where(is_of(table, execution), table.c.node_id == node_id))
            row = found.one_or_none()
        if row is None:
            raise NotFound(f"execution {execution} has no node execution {node_id!r}")
        return rows.node_from(row)

    async def list_attempts(
        self, query: Query, execution: int | ExecutionId, node_id: str | None = None
    ) -> Page[AttemptRecord]:
        """Attempts in order of creation: those of one node, those of all nodes for None."""
        table = schema.attempts
        attempts = _ATTEMPT.where(is_of(table, execution))
        if node_id is not None:
            attempts = attempts.where(table.c.node_id == node_id)
        statement = select_page(attempts, fields.ATTEMPTS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _attempt)

    async def list_attempts_of_items(
        self, query: Query, execution: int | ExecutionId, array_node_id: str
    ) -> Page[ItemRecord]:
        """The items of an array node in their order; those that wait have no row. The query's fields are the nodes'."""
        node_id = schema.nodes.c.node_id
        within = is_below(schema.nodes, array_node_id)  # keeps the search away from the rest of the execution
        items = _ITEM.where(is_of(schema.nodes, execution), within, schema.nodes.c.parent_id == array_node_id)
        statement = select_page(items.order_by(func.length(node_id), node_id), fields.NODES, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _item)

    async def get_attempt(self, execution: int | ExecutionId, node_id: str, attempt: int) -> AttemptRecord:
        """Raises NotFound."""
        table = schema.attempts
        wanted = _ATTEMPT.where(is_of(table, execution), table.c.node_id == node_id, table.c.attempt == attempt)
        async with reading(self._engine) as connection:
            row = (await connection.execute(wanted)).one_or_none()
        if row is None:
            raise NotFound(f"node execution {node_id!r} of execution {execution} has no attempt {attempt}")
        return _attempt(row)

    async def events(self, key: int) -> Sequence[RecordedEvent]:
        """The story of an execution, in the order in which it was written."""
        table = schema.events
        columns = [table.c[name] for name in rows.EVENT_COLUMNS]
        async with reading(self._engine) as connection:
            found = await connection.execute(select(*columns).where(table.c.execution_key == key).order_by(table.c.id))
            return [rows.event_from(row) for row in found]


_EXECUTION = select(
    *(schema.executions.c[name] for name in launches.COLUMNS),
).where(schema.executions.c.collected_at_us.is_(None))
_NODE = select(*(schema.nodes.c[name] for name in rows.NODE_COLUMNS))
_ITEM = select(
    *(schema.nodes.c[name] for name in rows.NODE_COLUMNS),
    *(schema.attempts.c[name] for name in rows.ATTEMPT_COLUMNS),
).join_from(
    schema.nodes,
    schema.attempts,
    (schema.attempts.c.execution_key == schema.nodes.c.execution_key)
    & (schema.attempts.c.node_id == schema.nodes.c.node_id)
    & (schema.attempts.c.attempt == schema.nodes.c.attempt),
    isouter=True,
)
_ATTEMPT = select(
    *(schema.attempts.c[name] for name in rows.ATTEMPT_COLUMNS),
    *(schema.nodes.c[name] for name in rows.NODE_COLUMNS),
).join_from(
    schema.attempts,
    schema.nodes,
    (schema.attempts.c.execution_key == schema.nodes.c.execution_key)
    & (schema.attempts.c.node_id == schema.nodes.c.node_id),
)


def _execution(row: Row[Any] | rows.Row) -> ExecutionRecord:
    length = len(rows.EXECUTION_COLUMNS)
    return ExecutionRecord(rows.execution_from(row), *row[length:])


def _attempt(row: Row[Any]) -> AttemptRecord:
    length = len(rows.ATTEMPT_COLUMNS)
    return AttemptRecord(rows.attempt_from(row), rows.node_from(row[length:]))


def _item(row: Row[Any]) -> ItemRecord:
    length = len(rows.NODE_COLUMNS)
    of_attempt = row[length:]
    return ItemRecord(rows.node_from(row), None if of_attempt[0] is None else rows.attempt_from(of_attempt))
