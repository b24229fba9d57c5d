"""The database of a measurement: the system's own, or a PostgreSQL that syncs to the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import PostgresServer

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on"}


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[str | None]:
    """Its address; None for SQLite, where the system makes its own."""
    if kind == "sqlite":
        yield None
        return
    folder.chmod(0o755)  # the server may have to run as somebody else
    (folder / "postgres").mkdir()
    server = PostgresServer(folder / "postgres", DURABLE)
    server.start()
    try:
        yield server.create_database()
    finally:
        server.stop()
