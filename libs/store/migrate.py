"""Brings a database to the present schema, and refuses to work on another.

Any number of processes may call `upgrade` at once: one works, the others wait and find nothing to do. All steps are
one transaction, so a migration that fails changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import address, schema, sqlite
from libs.store.engine import reading
from libs.store.failures import translated

WAIT_SECONDS = 60
"""How long to wait for another process that migrates."""

_LOCK = 0x41495253_43524557  # any number that nobody else takes: "AIRSCREW"


def upgrade(url: str) -> None:
    """Migrates the database at `url` to this version of the program; creates the tables of an empty one.

    Raises Unavailable when it does not answer or is locked for longer than WAIT_SECONDS, and FailedPrecondition when it
    belongs to a newer version.
    """
    where = address.parse(url)
    with translated():
        engine = _sqlite_engine(where) if isinstance(where, address.Sqlite) else _postgres_engine(where)
        try:
            with engine.connect() as connection:
                _lock(connection)
                _upgrade(connection)
                connection.commit()
        finally:
            engine.dispose()


async def check(engine: AsyncEngine) -> None:
    """Raises FailedPrecondition unless the database is at the schema of this version of the program."""
    async with reading(engine) as connection:
        found = await connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    schema.require_revision(found)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    if sqlalchemy.inspect(connection).has_table("alembic_version"):
        found = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
        if found is not None and found > schema.REVISION:
            schema.require_revision(found)
    command.upgrade(config, "head")


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    # On SQLite the transaction itself is the lock: it begins IMMEDIATE.


def _sqlite_engine(where: address.Sqlite) -> sqlalchemy.Engine:
    address.require_local_disk(where.path)
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create("sqlite", database=str(where.path)), poolclass=sqlalchemy.NullPool
    )

    @sqlalchemy.event.listens_for(engine, "connect")
    def _set_up(connection: object, _record: object) -> None:
        sqlite.set_up(connection, busy_seconds=WAIT_SECONDS)

    @sqlalchemy.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres_engine(where: address.Postgres) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg" + where.url[len("postgresql") :],
        connect_args={"connect_timeout": 2},
        poolclass=sqlalchemy.NullPool,
    )
