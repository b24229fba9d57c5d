"""The ledger's connection to PostgreSQL.

A commit is one statement. The driver sends it as one message, and the server takes no lock before it has all of it:
a process that is stopped while it sends can't hold the leadership row (no server-side timeout runs between the
messages of a pipeline, so a pipeline of statements would not give that). The fence is the statement's first part, and
every write in it is joined to the fence's answer: with a wrong epoch they all write nothing.

A commit with aborts is several statements, because an abort has to see the children that the batch adds and may meet a
row that the batch changes. They too travel as one message, which is one transaction to the server: a text with the
values written into it, for only such a message may hold more than one statement.

A statement has about a second, so that whoever has to wait for it does not wait long. That is far more than one needs,
but thousands of rows with large values, or a busy server, may need longer. What took too long is tried again as it is,
and would never be done; therefore the next try has twice the time of the one before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.numeric import Int8

from libs.store import cache_rows, launches, rows, schema
from libs.store.at_once import NotNow
from libs.store.ledger_rows import ABORT_BELOW, ABORT_COLUMNS, Batch
from libs.store.postgres import ANSWER_SECONDS, Connection, arrays, named, types_of, unnest

WORK_SECONDS = 1.0
"""How long the server may work on a statement."""

MOST_PATIENCE = 16
"""How many times longer that, and the wait for the answer, may become for what takes too long again and again."""

ABORT_SECONDS = 20.0
"""The longest that a server may work on aborts. It changes tens of thousands of executions in a second."""

_OPTIONS = " ".join(
    f"-c {option}"
    for option in (
        "lock_timeout=1000",
        "idle_in_transaction_session_timeout=1000",
        # Everything here is found by key. A plan that was made while the tables were small would scan them for ever.
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "plan_cache_mode=force_generic_plan",
        "jit=off",
        "application_name=airscrew-ledger",
    )
)


class PostgresLedger:
    """One connection, opened when it is needed and dropped after a failure."""

    keys_in = "= ANY(:keys)"
    blobs_in = "= ANY(:blobs)"
    fence_lock = "FOR SHARE"
    head_lock = "FOR UPDATE"
    cluster_lock = "LOCK TABLE etcd_clusters IN SHARE ROW EXCLUSIVE MODE"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._patience = self._next_patience = 1
        """Of this connection, and of the one after it: a connection on which a statement took too long is dropped."""

    def keys(self, keys: Sequence[int]) -> list[int]:
        return list(keys)

    def blobs(self, blobs: Sequence[bytes]) -> list[bytes]:
        return list(blobs)

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        with self._patient() as connection:
            return connection.execute(named(statement), parameters).fetchall()

    def read_at_once(self, statement: str, parameters: Mapping[str, Any]) -> None:
        """A server's answer has to be waited for."""

    def commit_at_once(self, shard: int, epoch: int, batch: Batch) -> NotNow:
        return NotNow.NOT_NOW

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
        values = _values(shard, epoch, batch)
        statement = _COMMIT if batch.plain else _COMMIT_MORE
        if batch.aborts:
            answer = self._execute_script([(statement, values), *self.aborts(batch.aborts, shard, epoch)])
        else:
            with self._patient() as connection:
                answer = connection.execute(statement, values, prepare=True).fetchone()
        leading, written = answer or (0, 0)
        return written if leading else None

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
        cursor = psycopg.ClientCursor(self._connected())
        written = ";".join(cursor.mogrify(named(statement), parameters) for statement, parameters in script)
        with self._patient() as connection:
            usual = connection.patience_seconds
            connection.patience_seconds = max(ABORT_SECONDS, usual)
            try:
                return cursor.execute(written.encode()).fetchone()
            finally:
                connection.patience_seconds = usual

    def lead_alone(self) -> None:
        """Any number of propellers may work on PostgreSQL: the fence sorts them out."""

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self.drop()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._patience = self._next_patience
            work_ms = round(WORK_SECONDS * 1000 * self._patience)
            self._connection = Connection.open(self._url, f"{_OPTIONS} -c statement_timeout={work_ms}")
            self._connection.patience_seconds = ANSWER_SECONDS * self._patience
        return self._connection

    @contextmanager
    def _patient(self) -> Iterator[Connection]:
        """The connection for one statement that may be large. When it takes too long, the next one has longer."""
        connection = self._connected()
        began = time.monotonic()
        try:
            yield connection
        except psycopg.errors.LockNotAvailable:
            raise  # it is somebody else who takes long
        except psycopg.OperationalError:
            if time.monotonic() - began >= WORK_SECONDS * self._patience:
                self._next_patience = min(2 * self._patience, MOST_PATIENCE)
            raise
        self._next_patience = 1


def _values(shard: int, epoch: int, batch: Batch) -> list[Any]:
    """The parameters of _COMMIT, or of _COMMIT_MORE for a batch that has more."""
    values: list[Any] = [Int8(shard), Int8(epoch)]
    parts = [
        ([rows.observed_row(each) for each in batch.executions], _EXECUTION_TYPES),
        ([rows.node_row(*each) for each in batch.nodes], _NODE_TYPES),
        ([rows.attempt_row(*each) for each in batch.attempts], _ATTEMPT_TYPES),
        (batch.events, _EVENT_TYPES),
    ]
    if not batch.plain:
        parts += [
            (batch.children, _CHILD_TYPES),
            (batch.tags, _TAG_TYPES),
            (batch.signals, _SIGNAL_TYPES),
            (batch.cached, _CACHE_TYPES),
            (batch.released, _RESERVATION_TYPES),
        ]
    for found, types in parts:
        values += arrays(found, types)
    return values


def _insert(table: str, columns: Sequence[str], types: Any) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT new.* FROM leader, {unnest(types, columns)}"


def _upsert(table: str, columns: Sequence[str], types: Any, key: Sequence[str], unless_final: str = "") -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    condition = f" WHERE {schema.of(table, unless_final)}" if unless_final else ""
    update = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}{condition} RETURNING 1"
    return f"{_insert(table, columns, types)} {update}"


_OBSERVED = ("key", *rows.EXECUTION_OBSERVED)
_EXECUTION_TYPES = types_of("executions", _OBSERVED)
_NODE_TYPES = types_of("nodes", rows.NODE_COLUMNS)
_ATTEMPT_TYPES = types_of("attempts", rows.ATTEMPT_COLUMNS)
_EVENT_TYPES = types_of("events", rows.EVENT_COLUMNS)

_CHILD_TYPES = types_of("executions", launches.COLUMNS)
_TAG_TYPES = types_of("execution_tags", launches.TAG_COLUMNS)
_SIGNAL_TYPES = types_of("signals", rows.SIGNAL_COLUMNS)
_CACHE_TYPES = types_of("cache_entries", cache_rows.CACHE_COLUMNS)
_RESERVATION_TYPES = types_of("cache_reservations", cache_rows.RESERVATION_COLUMNS)

_IS_LIVE = schema.of("executions", schema.EXECUTION_IS_LIVE)
_STATE_AND_STORY = f"""
WITH fence AS MATERIALIZED (SELECT shard, epoch FROM leadership WHERE shard = %b FOR SHARE),
leader AS MATERIALIZED (SELECT shard FROM fence WHERE epoch = %b),
new_executions AS (
    UPDATE executions SET {", ".join(f"{name} = new.{name}" for name in rows.EXECUTION_OBSERVED)}
    FROM leader, {unnest(_EXECUTION_TYPES, _OBSERVED)}
    WHERE executions.key = new.key AND executions.shard = leader.shard AND {
    schema.of("executions", schema.EXECUTION_IS_LIVE)
}
    RETURNING 1
),
new_nodes AS ({_upsert("nodes", rows.NODE_COLUMNS, _NODE_TYPES, ("execution_key", "node_id"), schema.NODE_IS_OPEN)}),
new_attempts AS (
    {
    _upsert(
        "attempts",
        rows.ATTEMPT_COLUMNS,
        _ATTEMPT_TYPES,
        ("execution_key", "node_id", "attempt"),
        schema.ATTEMPT_IS_OPEN,
    )
}
),
new_events AS ({_insert("events", rows.EVENT_COLUMNS, _EVENT_TYPES)})
"""
# A child that is there already is passed over; one of another parent is refused, by the table's keys.
_MORE = f"""
new_children AS (
    {_insert("executions", launches.COLUMNS, _CHILD_TYPES)}
    WHERE NOT EXISTS (
        SELECT 1 FROM executions AS old
        WHERE old.key = new.key AND old.parent_key = new.parent_key AND old.parent_node_id = new.parent_node_id
    )
),
new_tags AS ({_insert("execution_tags", launches.TAG_COLUMNS, _TAG_TYPES)} ON CONFLICT DO NOTHING),
new_signals AS ({_insert("signals", rows.SIGNAL_COLUMNS, _SIGNAL_TYPES)} ON CONFLICT DO NOTHING),
new_cached AS ({_upsert("cache_entries", cache_rows.CACHE_COLUMNS, _CACHE_TYPES, ("key",))}),
released AS (
    DELETE FROM cache_reservations AS old USING leader, {unnest(_RESERVATION_TYPES, cache_rows.RESERVATION_COLUMNS)}
    WHERE {" AND ".join(f"old.{name} = new.{name}" for name in cache_rows.RESERVATION_COLUMNS)}
)
"""
_ANSWER = """
SELECT
    (SELECT count(*) FROM leader),
    (SELECT count(*) FROM new_executions) + (SELECT count(*) FROM new_nodes) + (SELECT count(*) FROM new_attempts)
"""
_COMMIT = f"{_STATE_AND_STORY} {_ANSWER}"
_COMMIT_MORE = f"{_STATE_AND_STORY}, {_MORE} {_ANSWER}"
_ABORT_TYPES = ("BIGINT", "BIGINT", "TEXT", "TEXT")
_ASKED = ", ".join(f"CAST(:{name} AS {type}[])" for name, type in zip(ABORT_COLUMNS, _ABORT_TYPES, strict=True))
_ABORT_BELOW = ABORT_BELOW.format(asked=f"unnest({_ASKED}) AS asked ({', '.join(ABORT_COLUMNS)})")
