"""Executions by key from SQLite, for those who are told of every end.

The asynchronous engine goes to its connection's thread for every step of a query: to begin, to execute, to fetch, to
end what was begun. Here a look at many is one step of one thread, with a statement that is prepared once, and one at a
few is made on the spot (`at_once`). (PostgreSQL's driver needs no threads.)
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from libs.store import launches, rows, sqlite
from libs.store.at_once import FEW, AtOnce
from libs.store.failures import translated

_READ = (
    f"SELECT {', '.join(launches.COLUMNS)} FROM executions WHERE key IN (SELECT value FROM json_each(?)) "
    "AND collected_at_us IS NULL ORDER BY key"
)


class SqliteByKey:
    """A connection and its thread, both begun when they are first needed."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="by-key")
        self._connection: sqlite3.Connection | None = None
        self._at_once = AtOnce(self._path)

    async def read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        """The rows, columns as `launches.COLUMNS`, in order of their keys. Raises Unavailable."""
        asked = json.dumps(list(keys))
        found = self._at_once.rows(_READ, (asked,)) if len(keys) <= FEW else None
        if found is not None:
            return found
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, asked)

    async def close(self) -> None:
        self._at_once.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    def _read(self, keys: str) -> Sequence[rows.Row]:
        if self._connection is None:
            self._connection = sqlite.connect(self._path)
        self._at_once.open()
        try:
            return self._connection.execute(_READ, (keys,)).fetchall()
        except sqlite3.Error:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
