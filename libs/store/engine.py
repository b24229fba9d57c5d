"""The asynchronous door: a pool of connections for `admin` and everybody else who is not the leader.

Reads and writes go through `reading` and `writing`, which bound the time, start the right kind of transaction and let
only our own errors out. A write's transaction holds SQLite's only write lock, so it must be short: no waiting on
anything but the database inside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, Connection, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.store import address, schema, sqlite
from libs.store.failures import translated

CONNECTIONS = 8
"""Connections that stay open. A query takes about a millisecond: eight serve thousands of requests a second."""

ANSWER_SECONDS = 10.0
"""The longest that one transaction may take, from asking the pool to the commit."""

_POOL_SECONDS = 2.0
_POSTGRES_OPTIONS = " ".join(
    f"-c {option}"
    for option in (
        "lock_timeout=1000",
        "statement_timeout=5000",
        "idle_in_transaction_session_timeout=5000",
        "application_name=airscrew",
    )
)


def open_async(url: str) -> AsyncEngine:
    """A pool for the database at `url`. Nothing is connected yet. Close it with `await engine.dispose()`."""
    where = address.parse(url)
    if isinstance(where, address.Sqlite):
        return _sqlite_engine(where)
    return create_async_engine(
        where.for_sqlalchemy,
        connect_args={"connect_timeout": 2, "options": _POSTGRES_OPTIONS},
        pool_size=CONNECTIONS,
        max_overflow=CONNECTIONS,
        pool_timeout=_POOL_SECONDS,
        pool_recycle=1800,
        pool_pre_ping=True,  # after a restart of the server the first request must not meet a dead connection
    )


async def check_schema(engine: AsyncEngine) -> None:
    """Raises FailedPrecondition unless the database is at the schema of this version of the program."""
    async with reading(engine) as connection:
        found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    schema.require_revision(found)


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for one consistent read. Raises Unavailable when the database does not answer in time."""
    with translated():
        async with asyncio.timeout(ANSWER_SECONDS), engine.connect() as connection:
            yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection inside a transaction that is committed at the end.

    Raises Unavailable when the database does not answer in time (the outcome is then unknown) and Refused when it
    refuses a value.
    """
    with translated():
        async with asyncio.timeout(ANSWER_SECONDS), engine.connect() as connection:
            connection = await connection.execution_options(writing=True)
            async with connection.begin():
                yield connection


def _sqlite_engine(where: address.Sqlite) -> AsyncEngine:
    address.require_local_disk(where.path)
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(where.path)),
        connect_args={"timeout": sqlite.BUSY_SECONDS},
        pool_size=CONNECTIONS,
        max_overflow=0,  # every connection is a thread
        pool_timeout=_POOL_SECONDS,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        sqlite.set_up(connection)

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writing", False):
            sqlite.begin_immediate(connection.connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine
