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

from libs.store import cache_rows, launches, rows, sqlite, sqlite_log
from libs.store.at_once import FEW, SMALL, AtOnce, NotNow
from libs.store.ledger_rows import ABORT_BELOW, ABORT_COLUMNS, Batch
from libs.store.sqlite_groups import STATEMENTS
from libs.store.sqlite_states import States
from libs.workflow.errors import FailedPrecondition
from libs.workflow.state import Changes


class SqliteLedger:
    """One connection, opened when it is needed and dropped after a failure."""

    keys_in = "IN (SELECT value FROM json_each(:keys))"
    blobs_in = "IN (SELECT from_hex(value) FROM json_each(:blobs))"
    fence_lock = ""  # BEGIN IMMEDIATE has locked everything already
    head_lock = ""
    cluster_lock = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._writer: sqlite.Writer | None = None
        """The same connection, since it has first been written to."""
        self._leading: int | None = None
        self._at_once = AtOnce(path, STATEMENTS)

    def keys(self, keys: Sequence[int]) -> str:
        return json.dumps(list(keys))

    def blobs(self, blobs: Sequence[bytes]) -> str:
        return json.dumps([blob.hex() for blob in blobs])

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        return self._connected().execute(statement, parameters).fetchall()

    async def read_on_loop(
        self, statement: str, keys: Sequence[int], parameters: Mapping[str, int]
    ) -> list[rows.Row] | None:
        if len(keys) > FEW:
            return None
        return self._at_once.rows(statement.format(keys_in=self.keys_in), {"keys": self.keys(keys), **parameters})

    @contextmanager
    def transaction(self) -> Iterator[Callable[[str, Mapping[str, Any]], list[rows.Row]]]:
        with self._writing() as connection:
            yield lambda statement, parameters: connection.execute(statement, parameters).fetchall()

    def aborts(self, aborts: Sequence[rows.Row], shard: int, epoch: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Statements that abort what is asked for, with their parameters."""
        yield _ABORT_BELOW, {"asked": json.dumps(aborts), "shard": shard, "epoch": epoch}

    def commit(self, shard: int, epoch: int, batch: Batch) -> int | None:
        """Number of state rows written, or None when the epoch is not the present one."""
        states = States(shard, batch)
        with self._writing() as connection:
            return self._commit(connection, shard, epoch, batch, states)

    def commits_on_loop(self, batch: Sequence[Changes]) -> bool:
        # One that waits alone: to hand it over would take as long again as to write it.
        return len(batch) == 1 and batch[0].rows <= SMALL

    async def commit_on_loop(self, shard: int, epoch: int, batch: Batch) -> int | NotNow | None:
        states = States(shard, batch)
        with self._at_once.writing() as connection:
            return NotNow.NOT_NOW if connection is None else self._commit(connection, shard, epoch, batch, states)

    def _commit(
        self, connection: sqlite3.Connection, shard: int, epoch: int, batch: Batch, states: States
    ) -> int | None:
        found = connection.execute("SELECT epoch FROM leadership WHERE shard = ?", (shard,)).fetchone()
        if found is None or found[0] != epoch:
            return None
        written = states.write(connection)
        if not batch.plain:
            _add(connection, batch)
            # Last, so that they reach the children that are in the batch.
            for statement, parameters in self.aborts(batch.aborts, shard, epoch) if batch.aborts else ():
                connection.execute(statement, parameters)
        return written

    def prepare(self) -> None:
        """See `sqlite_log`."""
        sqlite_log.stretch(self._path)

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
        connection, self._connection, self._writer = self._connection, None, None
        if connection is not None:
            connection.close()

    def leave_loop(self) -> None:
        self._at_once.close()

    def close(self) -> None:
        self.drop()
        self._at_once.close()
        descriptor, self._leading = self._leading, None
        if descriptor is not None:
            os.close(descriptor)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite.connect(self._path, statements=STATEMENTS)
            self._connection.create_function("from_hex", 1, bytes.fromhex, deterministic=True)
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._at_once.open()
        if self._writer is None:
            self._writer = sqlite.Writer(self._connected())
        with self._writer.transaction() as connection:
            yield connection


def _add(connection: sqlite3.Connection, batch: Batch) -> None:
    """What is written beside state and story."""
    parent, node = (launches.COLUMNS.index(name) for name in ("parent_key", "parent_node_id"))
    connection.executemany(_CHILDREN, [(*row, row[0], row[parent], row[node]) for row in batch.children])
    for statement, values in (
        (_TAGS, batch.tags),
        (_SIGNALS, batch.signals),
        (_CACHED, batch.cached),
        (_RELEASED, batch.released),
    ):
        connection.executemany(statement, values)


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _upsert(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return f"{_insert(table, columns)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"


# A child that is there already is passed over; one of another parent is refused, by the table's keys.
_CHILDREN = (
    f"INSERT INTO executions ({', '.join(launches.COLUMNS)}) SELECT {', '.join('?' * len(launches.COLUMNS))} "
    "WHERE NOT EXISTS (SELECT 1 FROM executions WHERE key = ? AND parent_key = ? AND parent_node_id = ?)"
)
_TAGS = f"{_insert('execution_tags', launches.TAG_COLUMNS)} ON CONFLICT DO NOTHING"
_SIGNALS = f"{_insert('signals', rows.SIGNAL_COLUMNS)} ON CONFLICT DO NOTHING"
_CACHED = _upsert("cache_entries", cache_rows.CACHE_COLUMNS, ("key",))
_RELEASED = (
    f"DELETE FROM cache_reservations WHERE {' AND '.join(f'{name} = ?' for name in cache_rows.RESERVATION_COLUMNS)}"
)
_ASKED = ", ".join(f"json_extract(value, '$[{position}]') AS {name}" for position, name in enumerate(ABORT_COLUMNS))
_ABORT_BELOW = ABORT_BELOW.format(asked=f"(SELECT {_ASKED} FROM json_each(:asked)) AS asked")
