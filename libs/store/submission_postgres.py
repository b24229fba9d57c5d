"""New executions into PostgreSQL: one statement, thus one round trip, unless some of them have parents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import psycopg

from libs.store import launches
from libs.store.postgres import Connection, named, numbered
from libs.store.postgres_parts import NOTHING, Part
from libs.store.rows import Row
from libs.store.submission_rows import KEY, PARENT, Batch, Stored, gone_of, hold, id_of, is_ending, sources_of
from libs.workflow.identity import ExecutionId

_OPTIONS = " ".join(
    f"-c {option}"
    for option in (
        "lock_timeout=1000",
        "statement_timeout=1500",
        "idle_in_transaction_session_timeout=1500",
        "jit=off",
        "application_name=airscrew-submissions",
    )
)


class PostgresDoor:
    """One connection, opened when it is needed and dropped after a failure."""

    keys_in = "= ANY(:keys)"
    fence_lock = "FOR SHARE"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    def store(self, batch: Batch) -> Stored:
        if self._connection is None or self._connection.closed:
            self._connection = Connection.open(self._url, _OPTIONS)
        connection = self._connection
        executions, orphans, gone = batch.executions, set[int](), set[int]()
        if batch.parents or batch.wishes:
            with connection.transaction():

                def execute(statement: str, parameters: Mapping[str, Any]) -> list[Row]:
                    cursor = connection.execute(named(statement), parameters)
                    return cursor.fetchall() if cursor.description is not None else []

                if ending := _ending(connection, batch.parents):
                    orphans = {row[KEY] for row in executions if row[PARENT] in ending}
                sources = sources_of(execute, self, batch.wishes)
                gone = gone_of(batch.wishes, sources)
                if passed := orphans | gone:
                    executions = [row for row in executions if row[KEY] not in passed]
                created = _insert(connection, executions, batch.tags)
                hold(execute, batch.wishes, sources, created)
        else:
            created = _insert(connection, executions, batch.tags)
        left = [id_of(row) for row in executions if row[KEY] not in created]
        return Stored(created, _taken(connection, left) if left else {}, orphans, gone)

    def store_at_once(self, batch: Batch) -> None:
        """A server's answer has to be waited for."""

    def keys(self, keys: Sequence[int]) -> list[int]:
        return list(keys)

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _ending(connection: Connection, parents: Collection[int]) -> set[int]:
    """Those that have ended or are about to. The others stay as they are until the commit."""
    # In the order in which a leader's commit takes them, so that neither waits for the other.
    asked = "SELECT key, desired, phase FROM executions WHERE key = ANY(%s) ORDER BY key FOR SHARE"
    found = connection.execute(asked, [list(parents)])
    return {key for key, desired, phase in found if is_ending(desired, phase)}


def _insert(connection: Connection, executions: Sequence[Row], tags: Sequence[Row]) -> set[int]:
    """Keys of the rows that were inserted: names and keys that exist are passed over."""
    if not executions:
        return set()
    # By name: two processes that insert the same names in different orders would wait for each other.
    kind, values = _EXECUTIONS.arrays(sorted(executions, key=id_of))
    kind_of_tags, values_of_tags = _TAGS.arrays(tags)
    statement = _statement(kind, kind_of_tags)
    cursor = psycopg.RawCursor(connection).execute(numbered(statement), [*values, *values_of_tags], prepare=True)
    return {key for (key,) in cursor}


def _taken(connection: Connection, ids: Sequence[ExecutionId]) -> Mapping[ExecutionId, int | None]:
    asked = (
        "SELECT project, domain, name, collected_at_us FROM executions "
        "JOIN unnest(%s::text[], %s::text[], %s::text[]) AS asked (project, domain, name) USING (project, domain, name)"
    )
    found = connection.execute(asked, list(map(list, zip(*ids, strict=True))))
    return {ExecutionId(*row[:3]): row[3] for row in found}


@cache
def _statement(kind: int, kind_of_tags: int) -> str:
    tagged = f", {_TAGS.statement(kind_of_tags)}" if kind_of_tags != NOTHING else ""
    return f"WITH {_EXECUTIONS.statement(kind)}{tagged} SELECT key FROM created"


_EXECUTIONS = Part(
    "executions",
    launches.COLUMNS,
    lambda columns, new: (
        f"INSERT INTO executions ({', '.join(columns)}) SELECT new.* FROM {new} ON CONFLICT DO NOTHING RETURNING key"
    ),
    seldom=launches.SELDOM,
    name="created",
)
_TAGS = Part(
    "execution_tags",
    launches.TAG_COLUMNS,
    lambda columns, new: (
        f"INSERT INTO execution_tags ({', '.join(columns)}) SELECT new.* FROM {new} "
        "WHERE new.execution_key IN (SELECT created.key FROM created) ON CONFLICT DO NOTHING"
    ),
    name="tagged",
)
