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

_READ = f"{ROWS} AND key = ANY($1) ORDER BY key"

_OPTIONS = options("statement_timeout=1500", *BY_KEY, "application_name=airscrew-by-key")


class PostgresByKey(ByKey):
    def __init__(self, url: str) -> None:
        self._connection = LoopConnection(url, _OPTIONS)
        self._turn = asyncio.Lock()

    async def read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        with translated():
            async with self._turn:
                known = self._connection.connected
                try:
                    return await self._fetch(keys)
                except psycopg.OperationalError:
                    if not known:
                        raise
                # After a restart of the server the first look must not meet a dead connection.
                return await self._fetch(keys)

    async def close(self) -> None:
        self._connection.drop()

    async def _fetch(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        return await self._connection.execute(_READ, [Int8Array(tuple(keys))])
