"""Executions by key from PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from libs.store import rows
from libs.store.bykey import ROWS, ByKey
from libs.store.postgres import Connection
from libs.store.postgres_arrays import Int8Array

_READ = f"{ROWS} AND key = ANY(%b) ORDER BY key"

_OPTIONS = "-c statement_timeout=1500 -c jit=off -c application_name=airscrew-by-key"


class PostgresByKey(ByKey):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._connection: Connection | None = None

    def _read(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        known = self._connection is not None
        try:
            return self._fetch(keys)
        except psycopg.OperationalError:
            self._drop()
            if not known:
                raise
        # After a restart of the server the first look must not meet a dead connection.
        return self._fetch(keys)

    def _fetch(self, keys: Sequence[int]) -> Sequence[rows.Row]:
        if self._connection is None:
            self._connection = Connection.open(self._url, _OPTIONS)
        return self._connection.execute(_READ, (Int8Array(tuple(keys)),), binary=True).fetchall()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
