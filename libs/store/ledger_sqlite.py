"""The ledger's connection to a SQLite file."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libs.store import rows, schema, sqlite
from libs.store.ledger_rows import Batch
from libs.workflow.errors import FailedPrecondition


class SqliteLedger:
    """One connection, opened when it is needed and dropped after a failure."""

    keys_in = "IN (SELECT value FROM json_each(:keys))"
    fence_lock = ""  # BEGIN IMMEDIATE has locked everything already
    cluster_lock = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._leading: int | None = None

    def keys(self, keys: Sequence[int]) -> str:
        return json.dumps(list(keys))

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        return self._connected().execute(statement, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Callable[[str, Mapping[str, Any]], list[rows.Row]]]:
        with self._writing() as connection:
            yield lambda statement, parameters: connection.execute(statement, parameters).fetchall()

    def commit(self, shard: int, epoch: int, batch: Batch) -> int | None:
        """Number of state rows written, or None when the epoch is not the present one."""
        with self._writing() as connection:
            found = connection.execute("SELECT epoch FROM leadership WHERE shard = ?", (shard,)).fetchone()
            if found is None or found[0] != epoch:
                return None
            written = 0
            for statement, values in (
                (_EXECUTIONS, [(*row[1:], row[0], shard) for row in batch.executions]),
                (_NODES, batch.nodes),
                (_ATTEMPTS, batch.attempts),
            ):
                if values:
                    written += connection.executemany(statement, values).rowcount
            connection.executemany(_EVENTS, batch.events)
            return written

    def lead_alone(self) -> None:
        """Refuses a second leading process: nobody but the kernel ends this lock, however the process ends."""
        if self._leading is not None:
            return
        path = f"{self._path}-leader"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FailedPrecondition(
                f"another propeller works on {self._path}: SQLite allows one, more of them need PostgreSQL"
            ) from None
        self._leading = descriptor

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self.drop()
        descriptor, self._leading = self._leading, None
        if descriptor is not None:
            os.close(descriptor)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite.connect(self._path)
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        sqlite.begin_immediate(connection)
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _upsert(table: str, columns: Sequence[str], key: Sequence[str], unless_final: str) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} WHERE {table}.{unless_final}"
    )


_EXECUTIONS = (
    f"UPDATE executions SET {', '.join(f'{name} = ?' for name in rows.EXECUTION_OBSERVED)} "
    f"WHERE key = ? AND shard = ? AND {schema.EXECUTION_IS_LIVE}"
)
_NODES = _upsert("nodes", rows.NODE_COLUMNS, ("execution_key", "node_id"), schema.NODE_IS_OPEN)
_ATTEMPTS = _upsert("attempts", rows.ATTEMPT_COLUMNS, ("execution_key", "node_id", "attempt"), schema.ATTEMPT_IS_OPEN)
_EVENTS = f"INSERT INTO events ({', '.join(rows.EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(rows.EVENT_COLUMNS))})"
