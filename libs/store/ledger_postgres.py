"""The ledger's connection to PostgreSQL.

A commit is one statement. The driver sends it as one message, and the server takes no lock before it has all of it:
a process that is stopped while it sends can't hold the leadership row (no server-side timeout runs between the
messages of a pipeline, so a pipeline of statements would not give that). The fence is the statement's first part, and
every write in it is joined to the fence's answer: with a wrong epoch they all write nothing. There are as many such
statements as there are mixtures of what commits write (`postgres_commit`), a dozen of them usual.

A commit with aborts is several statements, because an abort has to see the children that the batch adds and may meet a
row that the batch changes. They too travel as one message, which is one transaction to the server: a text with the
values written into it, for only such a message may hold more than one statement.

A statement has about a second, so that whoever has to wait for it does not wait long. That is far more than one needs,
but thousands of rows with large values, or a busy server, may need longer. What took too long is tried again as it is,
and would never be done; therefore the next try has twice the time of the one before, also where that was the loop's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from libs.store import rows
from libs.store.ledger_rows import ABORT_BELOW, ABORT_COLUMNS, Batch
from libs.store.postgres import ANSWER_SECONDS, BY_KEY, Connection, named, numbered, options, positional
from libs.store.postgres_arrays import Int8Array
from libs.store.postgres_commit import commit_of
from libs.store.postgres_loop import LoopConnection
from libs.workflow.state import Changes

WORK_SECONDS = 1.0
"""How long the server may work on a statement."""

MOST_PATIENCE = 16
"""How many times longer that, and the wait for the answer, may become for what takes too long again and again."""

ABORT_SECONDS = 20.0
"""The longest that a server may work on aborts. It changes tens of thousands of executions in a second."""

_OPTIONS = options(
    "lock_timeout=900",  # less than a statement has, or one that waits would seem to need more time
    "idle_in_transaction_session_timeout=1000",
    *BY_KEY,
    "application_name=airscrew-ledger",
)


class PostgresLedger:
    """A connection for a thread and two for an event loop, opened when they are needed, dropped after a failure."""

    keys_in = "= ANY(:keys)"
    blobs_in = "= ANY(:blobs)"
    fence_lock = "FOR SHARE"
    head_lock = "FOR UPDATE"
    cluster_lock = "LOCK TABLE etcd_clusters IN SHARE ROW EXCLUSIVE MODE"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._patience = self._next_patience = 1
        """Of this connection, and of the one after it: a connection on which a statement took too long is dropped, and
        so is one that has less patience than what is tried next needs."""
        as_usual = f"{_OPTIONS} {options(f'statement_timeout={WORK_SECONDS * 1000:.0f}')}"
        self._commits_on_loop = LoopConnection(url, as_usual)
        self._reads_on_loop = LoopConnection(url, as_usual)
        self._loop_failed = False
        """Then everything goes the thread's way, which has more patience, until something has been committed there
        in less time than the loop has."""

    def keys(self, keys: Sequence[int]) -> list[int]:
        return list(keys)

    def blobs(self, blobs: Sequence[bytes]) -> list[bytes]:
        return list(blobs)

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        with self._patient() as connection:
            return connection.execute(named(statement), parameters).fetchall()

    async def read_on_loop(
        self, statement: str, keys: Sequence[int], parameters: Mapping[str, int]
    ) -> list[rows.Row] | None:
        written, names = positional(statement.format(keys_in=self.keys_in))
        values: dict[str, Any] = {"keys": Int8Array(tuple(keys)), **parameters}
        if self._loop_failed or self._reads_on_loop.busy:
            return None
        with self._loop_may_fail():
            return await self._reads_on_loop.execute(written, [values[name] for name in names])

    def commits_on_loop(self, batch: Sequence[Changes]) -> bool:
        return not (self._loop_failed or self._commits_on_loop.busy or any(each.aborts for each in batch))

    async def commit_on_loop(self, shard: int, epoch: int, batch: Batch) -> int | None:
        statement, values = commit_of(shard, epoch, batch)
        with self._loop_may_fail():
            (answer,) = await self._commits_on_loop.execute(numbered(statement), values)
        return _written(answer)

    @contextmanager
    def _loop_may_fail(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except (psycopg.OperationalError, TimeoutError) as error:
            self._loop_failed = True
            if _took_too_long(error, began, WORK_SECONDS):
                self._next_patience = max(self._next_patience, 2)  # the thread has had the first try from the loop
            raise

    @contextmanager
    def transaction(self) -> Iterator[Callable[[str, Mapping[str, Any]], list[rows.Row]]]:
        connection = self._connected()

        def execute(statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
            cursor = connection.execute(named(statement), parameters)
            return cursor.fetchall() if cursor.description is not None else []

        with connection.transaction():
            yield execute

    def commit(self, shard: int, epoch: int, batch: Batch) -> int | None:
        """Number of state rows written, or None when the epoch is not the present one."""
        statement, values = commit_of(shard, epoch, batch)
        began = time.monotonic()
        if batch.aborts:
            answer = self._execute_script([(statement, values), *self.aborts(batch.aborts, shard, epoch)])
        else:
            with self._patient() as connection:
                answer = psycopg.RawCursor(connection).execute(numbered(statement), values, prepare=True).fetchone()
        if time.monotonic() - began < WORK_SECONDS / 2:
            self._loop_failed = False
        return _written(answer or (0, 0))

    def aborts(self, aborts: Sequence[rows.Row], shard: int, epoch: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Statements that abort what is asked for, with their parameters.

        They are planned when they are sent, and may find anything between one child and a hundred thousand.
        """
        yield "SET LOCAL enable_hashjoin = on", {}
        yield f"SET LOCAL statement_timeout = {ABORT_SECONDS * 1000:.0f}", {}
        columns = dict(zip(ABORT_COLUMNS, map(list, zip(*aborts, strict=True)), strict=True))
        yield _ABORT_BELOW, {**columns, "shard": shard, "epoch": epoch}

    def _execute_script(self, script: Sequence[tuple[str, Any]]) -> rows.Row | None:
        """The answer of the first statement, after all of them."""
        with self._patient() as connection:
            cursor = psycopg.ClientCursor(connection)
            written = ";".join(cursor.mogrify(named(statement), parameters) for statement, parameters in script)
            usual = connection.patience_seconds
            connection.patience_seconds = max(ABORT_SECONDS, usual)
            try:
                return cursor.execute(written.encode()).fetchone()
            finally:
                connection.patience_seconds = usual

    def prepare(self) -> None:
        """There is nothing to do."""

    def lead_alone(self) -> None:
        """Any number of propellers may work on PostgreSQL: the fence sorts them out."""

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def leave_loop(self) -> None:
        self._commits_on_loop.drop()
        self._reads_on_loop.drop()

    def close(self) -> None:
        self.drop()

    def _connected(self) -> Connection:
        if self._patience < self._next_patience:
            self.drop()
        if self._connection is None:
            self._patience = self._next_patience
            work_ms = round(WORK_SECONDS * 1000 * self._patience)
            self._connection = Connection.open(self._url, f"{_OPTIONS} {options(f'statement_timeout={work_ms}')}")
            self._connection.patience_seconds = ANSWER_SECONDS * self._patience
        return self._connection

    @contextmanager
    def _patient(self) -> Iterator[Connection]:
        """The connection for one statement that may be large. When it takes too long, the next one has longer."""
        connection = self._connected()
        began = time.monotonic()
        try:
            yield connection
        except psycopg.OperationalError as error:
            if _took_too_long(error, began, WORK_SECONDS * self._patience):
                self._next_patience = min(2 * self._patience, MOST_PATIENCE)
            raise
        self._next_patience = 1


def _took_too_long(error: Exception, began: float, seconds: float) -> bool:
    """Whether a statement failed because it needs longer than so long."""
    others = isinstance(error, psycopg.errors.LockNotAvailable)  # then it is somebody else who takes long
    return not others and time.monotonic() - began >= seconds


def _written(answer: rows.Row) -> int | None:
    """Number of state rows written, or None when the epoch is not the present one."""
    leading, written = answer
    return written if leading else None


_ABORT_TYPES = ("BIGINT", "BIGINT", "TEXT", "TEXT")
_ASKED = ", ".join(f"CAST(:{name} AS {type}[])" for name, type in zip(ABORT_COLUMNS, _ABORT_TYPES, strict=True))
_ABORT_BELOW = ABORT_BELOW.format(asked=f"unnest({_ASKED}) AS asked ({', '.join(ABORT_COLUMNS)})")
