"""The synchronous door: for what runs once, when a process starts or an operator calls.

By itself, because it needs a third less of SQLAlchemy than the asynchronous one, which a propeller never opens.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from libs.store import address, sqlite


def open_sync(url: str, *, busy_seconds: float = sqlite.BUSY_SECONDS) -> Engine:
    """For commands that run once: a connection at a time, every transaction a writing one."""
    where = address.parse(url)
    if isinstance(where, address.Postgres):
        options = {"connect_timeout": 2, "options": f"-c lock_timeout={int(busy_seconds * 1000)}"}
        return create_engine(where.for_sqlalchemy, connect_args=options, poolclass=NullPool)
    address.require_local_disk(where.path)
    engine = create_engine(URL.create("sqlite", database=str(where.path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        sqlite.set_up(connection, busy_seconds)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        sqlite.begin_immediate(connection.connection, busy_seconds)

    return engine
