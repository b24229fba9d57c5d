"""Executions by key, for those who are told of every end.

The asynchronous engine takes its time for every step of a query: to begin, to execute, to fetch, to end what was
begun; with SQLite each is a thread's, with PostgreSQL all together are a millisecond. Here a look is one step, with a
statement that is prepared once: with PostgreSQL a step of the event loop (`postgres_loop`), with SQLite one of a
thread, unless it is at a few rows and is made on the spot (`at_once`).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from libs.store import address, launches, rows, sqlite
from libs.store.at_once import FEW, AtOnce
from libs.store.failures import translated

# The sum keeps PostgreSQL from looking through all that have not been collected, by their index: while it knows nothing
# of the table, it takes them for a handful.
ROWS: Final = f"SELECT {', '.join(launches.COLUMNS)} FROM executions WHERE collected_at_us + 0 IS NULL"
_READ = f"{ROWS} AND key IN (SELECT value FROM json_each(?)) ORDER BY key"
_READ_ONE = f"{ROWS} AND key = ?"


class ByKey(ABC):
    """A connection of its own, begun when it is first needed."""

    @abstractmethod
    async def read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        """The rows, columns as `launches.COLUMNS`, in order of their keys. Raises Unavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Ends it."""


class SqliteByKey(ByKey):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="by-key")
        self._connection: sqlite3.Connection | None = None
        self._at_once = AtOnce(path)

    async def read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        found = self._look(sorted(set(keys))) if len(keys) <= FEW else None
        if found is not None:
            return found
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, keys)

    async def close(self) -> None:
        self._at_once.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    def _look(self, keys: Sequence[int]) -> Sequence[rows.Row] | None:
        found: list[rows.Row] = []
        for key in keys:
            row = self._at_once.rows(_READ_ONE, (key,))
            if row is None:
                return None
            found += row
        return found

    def _read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        if self._connection is None:
            self._connection = sqlite.connect(self._path)
        self._at_once.open()
        try:
            return self._connection.execute(_READ, (json.dumps(list(keys)),)).fetchall()
        except sqlite3.Error:
            self._drop()
            raise

    def _drop(self) -> None:
        """Forgets the connection; the next read opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def by_key(url: URL) -> ByKey:
    """Of the database at `url`; nothing is contacted yet."""
    where = address.parse(url.render_as_string(hide_password=False))
    if isinstance(where, address.Sqlite):
        return SqliteByKey(where.path)
    from libs.store.bykey_postgres import PostgresByKey  # only who needs the driver pays for its import

    return PostgresByKey(where.for_libpq)
