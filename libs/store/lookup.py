"""How statements find an execution, which may be named by its key or by its id."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.store import schema
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId


def is_named(table: Table, id: ExecutionId) -> ColumnElement[bool]:
    """Rows of a table that has the id's parts as columns."""
    return (table.c.project == id.project) & (table.c.domain == id.domain) & (table.c.name == id.name)


def is_of(table: Table, execution: int | ExecutionId) -> ColumnElement[bool]:
    """Rows of a table that belong to an execution, which is looked up within the same statement."""
    if isinstance(execution, int):
        return table.c.execution_key == execution
    key = select(schema.executions.c.key).where(is_named(schema.executions, execution)).scalar_subquery()
    return table.c.execution_key == key


def is_below(table: Table, node_id: str) -> ColumnElement[bool]:
    """Rows of nodes below that one, at any depth: their ids begin with its own, so they lie together in the table."""
    return (table.c.node_id > f"{node_id}-") & (table.c.node_id < f"{node_id}.")


async def unknown(connection: AsyncConnection, id: ExecutionId) -> NotFound:
    """What to raise where there is no such execution: whether there ever was one."""
    table = schema.executions
    at_us = await connection.scalar(select(table.c.collected_at_us).where(is_named(table, id)))
    return NotFound(f"execution {id} does not exist" if at_us is None else collected(id, at_us))


def collected(id: ExecutionId, at_us: int) -> str:
    """What is left to say of an execution that the garbage collector has removed."""
    when = datetime.fromtimestamp(at_us / 1e6, UTC)
    return f"execution {id} was removed by the garbage collector on {when:%Y-%m-%d at %H:%M} UTC"
