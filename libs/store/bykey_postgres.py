"""Executions by key from PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg

from libs.store import rows
from libs.store.bykey import ROWS, ByKey
from libs.store.failures import translated
from libs.store.postgres import BY_KEY, options
from libs.store.postgres_arrays import Int8Array
from libs.store.postgres_loop import LoopConnection
from libs.workflow.errors import Unavailable

_READ = f"{ROWS} AND key = ANY($1) ORDER BY key"

_OPTIONS = options("statement_timeout=1500", *BY_KEY, "application_name=airscrew-by-key")


class PostgresByKey(ByKey):
    """One look at a time. A look that has begun goes on when who asked for it has gone, for the connection with a
    statement under way would have to be given up, and the server would go on with it: a look is harmless, and short."""

    def __init__(self, url: str) -> None:
        self._connection = LoopConnection(url, _OPTIONS)
        self._turn = asyncio.Lock()
        self._look: asyncio.Task[Sequence[rows.Row]] | None = None
        """Under way; it has the turn."""
        self._closed = False

    async def read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        await self._turn.acquire()
        self._look = asyncio.create_task(self._fetch(keys), name="look by key")
        self._look.add_done_callback(self._looked)
        with translated():
            return await asyncio.shield(self._look)

    async def close(self) -> None:
        self._closed = True
        self._connection.drop()
        if self._look is not None:
            await asyncio.wait([self._look])  # at once, or when it is connected

    async def _fetch(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        known = self._connection.connected
        try:
            return await self._ask(keys)
        except psycopg.OperationalError as error:
            answered = error.sqlstate is not None
            if answered or not known:
                raise
        # After a restart of the server the first look must not meet a dead connection.
        return await self._ask(keys)

    async def _ask(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        if self._closed:
            raise Unavailable("the store is closed")
        return await self._connection.execute(_READ, [Int8Array(tuple(keys))])

    def _looked(self, _: asyncio.Task[Sequence[rows.Row]]) -> None:
        self._look = None
        self._turn.release()
