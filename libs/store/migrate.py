"""Brings a database to the present schema, and refuses to work on another.

Any number of processes may call `upgrade` at once: one works, the others wait and find nothing to do. All steps are
one transaction, so a migration that fails changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import Connection

from libs.store import schema
from libs.store.engine_sync import open_sync
from libs.store.failures import translated

WAIT_SECONDS = 60
"""How long to wait for another process that migrates."""

_LOCK = 0x41495253_43524557  # any number that nobody else takes: "AIRSCREW"


def upgrade(url: str) -> None:
    """Migrates the database at `url` to this version of the program; creates the tables of an empty one.

    Raises Unavailable when it does not answer or is locked for longer than WAIT_SECONDS, and FailedPrecondition when it
    belongs to a newer version.
    """
    with translated():
        engine = open_sync(url, busy_seconds=WAIT_SECONDS)
        try:
            with engine.connect() as connection:
                _lock(connection)
                _upgrade(connection)
                connection.commit()
        finally:
            engine.dispose()


def _upgrade(connection: Connection) -> None:
    if sqlalchemy.inspect(connection).has_table("alembic_version"):
        found = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
        if found == schema.REVISION:
            return
        if found is not None and found > schema.REVISION:
            schema.require_revision(found)
    _run_steps(connection)


def _run_steps(connection: Connection) -> None:
    # Takes a quarter of a second to import, and most starts find nothing to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    steps = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", steps.replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    # On SQLite the transaction itself is the lock: it begins IMMEDIATE.
