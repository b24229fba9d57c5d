"""The ledger's connection to PostgreSQL.

A commit is one statement. The driver sends it as one message, and the server takes no lock before it has all of it:
a process that is stopped while it sends can't hold the leadership row (no server-side timeout runs between the
messages of a pipeline, so a pipeline of statements would not give that). The fence is the statement's first part, and
every write in it is joined to the fence's answer: with a wrong epoch they all write nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.types.numeric import Int8

from libs.store import postgres_arrays, rows, schema
from libs.store.ledger_rows import Batch

ANSWER_SECONDS = 2.0
"""The longest wait for the server's answer. Its own timeouts are shorter; this one is for a server that is stopped, or
a network that lost it."""

T = TypeVar("T")

_CONNECT_SECONDS = 2
_OPTIONS = " ".join(
    f"-c {option}"
    for option in (
        "lock_timeout=1000",
        "statement_timeout=1000",
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


class _Connection(psycopg.Connection[rows.Row]):
    """A connection on which no wait is endless."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return super().wait(gen, interval, ANSWER_SECONDS if timeout is None else timeout)


class PostgresLedger:
    """One connection, opened when it is needed and dropped after a failure."""

    keys_in = "= ANY(:keys)"
    fence_lock = "FOR SHARE"
    cluster_lock = "LOCK TABLE etcd_clusters IN SHARE ROW EXCLUSIVE MODE"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: _Connection | None = None

    def keys(self, keys: Sequence[int]) -> list[int]:
        return list(keys)

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        return self._connected().execute(_named(statement), parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Callable[[str, Mapping[str, Any]], list[rows.Row]]]:
        connection = self._connected()

        def execute(statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
            cursor = connection.execute(_named(statement), parameters)
            return cursor.fetchall() if cursor.description is not None else []

        with connection.transaction():
            yield execute

    def commit(self, shard: int, epoch: int, batch: Batch) -> int | None:
        """Number of state rows written, or None when the epoch is not the present one."""
        values: list[Any] = [Int8(shard), Int8(epoch)]
        values += _arrays(batch.executions, _EXECUTION_TYPES)
        values += _arrays(batch.nodes, _NODE_TYPES)
        values += _arrays(batch.attempts, _ATTEMPT_TYPES)
        values += _arrays(batch.events, _EVENT_TYPES)
        answer = self._connected().execute(_COMMIT, values, prepare=True).fetchone()
        leading, written = answer or (0, 0)
        return written if leading else None

    def lead_alone(self) -> None:
        """Any number of propellers may work on PostgreSQL: the fence sorts them out."""

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self.drop()

    def _connected(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection.connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_SECONDS, options=_OPTIONS
            )
            postgres_arrays.register(self._connection)
        return self._connection


@cache
def _named(statement: str) -> str:
    """`:name` of our shared statements in the driver's spelling."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", statement)


def _types(table: str, columns: Sequence[str]) -> list[type[postgres_arrays._Array]]:
    by_python_type: dict[type, type[postgres_arrays._Array]] = {
        int: postgres_arrays.Int8Array,
        str: postgres_arrays.TextArray,
        bytes: postgres_arrays.ByteaArray,
    }
    return [by_python_type[schema.metadata.tables[table].c[name].type.python_type] for name in columns]


def _arrays(values: Sequence[rows.Row], types: Sequence[type[postgres_arrays._Array]]) -> Iterator[Any]:
    """The rows turned into one array per column."""
    columns = zip(*values, strict=True) if values else [()] * len(types)
    return (kind(column) for kind, column in zip(types, columns, strict=True))


def _unnest(types: Sequence[type[postgres_arrays._Array]], columns: Sequence[str]) -> str:
    return f"unnest({', '.join(['%b'] * len(types))}) AS new ({', '.join(columns)})"


def _upsert(table: str, columns: Sequence[str], types: Any, key: Sequence[str], unless_final: str) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT new.* FROM leader, {_unnest(types, columns)} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} WHERE {table}.{unless_final} RETURNING 1"
    )


_OBSERVED = ("key", *rows.EXECUTION_OBSERVED)
_EXECUTION_TYPES = _types("executions", _OBSERVED)
_NODE_TYPES = _types("nodes", rows.NODE_COLUMNS)
_ATTEMPT_TYPES = _types("attempts", rows.ATTEMPT_COLUMNS)
_EVENT_TYPES = _types("events", rows.EVENT_COLUMNS)

_COMMIT = f"""
WITH fence AS MATERIALIZED (SELECT shard, epoch FROM leadership WHERE shard = %b FOR SHARE),
leader AS MATERIALIZED (SELECT shard FROM fence WHERE epoch = %b),
new_executions AS (
    UPDATE executions SET {", ".join(f"{name} = new.{name}" for name in rows.EXECUTION_OBSERVED)}
    FROM leader, {_unnest(_EXECUTION_TYPES, _OBSERVED)}
    WHERE executions.key = new.key AND executions.shard = leader.shard AND executions.{schema.EXECUTION_IS_LIVE}
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
new_events AS (
    INSERT INTO events ({", ".join(rows.EVENT_COLUMNS)})
    SELECT new.* FROM leader, {_unnest(_EVENT_TYPES, rows.EVENT_COLUMNS)}
)
SELECT
    (SELECT count(*) FROM leader),
    (SELECT count(*) FROM new_executions) + (SELECT count(*) FROM new_nodes) + (SELECT count(*) FROM new_attempts)
"""
