"""New executions into PostgreSQL: one statement, thus one round trip, unless some of them have parents.

That one the event loop sends and waits for itself (`postgres_loop`): to put rows into the wire's form is Python's work,
of which a thread would do none beside the loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import psycopg

from libs.store import launches
from libs.store.postgres import BY_KEY, Connection, named, numbered, options
from libs.store.postgres_arrays import TextArray
from libs.store.postgres_loop import LoopConnection
from libs.store.postgres_parts import NOTHING, Part
from libs.store.rows import Row
from libs.store.submission_rows import KEY, PARENT, Batch, Stored, gone_of, hold, id_of, is_ending, sources_of
from libs.workflow.identity import ExecutionId

_OPTIONS = options(
    "lock_timeout=1000",
    "statement_timeout=1500",
    "idle_in_transaction_session_timeout=1500",
    *BY_KEY,
    "application_name=airscrew-submissions",
)


class PostgresDoor:
    """One connection for a thread and one for an event loop, opened when they are needed, dropped after a failure."""

    keys_in = "= ANY(:keys)"
    fence_lock = "FOR SHARE"

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._loop = LoopConnection(url, _OPTIONS)

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
        taken: list[Row] = []
        if left := _left(executions, created):
            taken = psycopg.RawCursor(connection).execute(numbered(_TAKEN), left, prepare=True).fetchall()
        return Stored(created, _by_name(taken), orphans, gone)

    def store_at_once(self, batch: Batch) -> None:
        """A server's answer has to be waited for."""

    async def store_on_loop(self, batch: Batch) -> Stored | None:
        if batch.parents or batch.wishes:
            return None
        statement, values = _insertion(batch.executions, batch.tags)
        created = {key for (key,) in await self._loop.execute(statement, values)}
        left = _left(batch.executions, created)
        taken = await self._loop.execute(numbered(_TAKEN), left) if left else ()
        return Stored(created, _by_name(taken), set())

    def keys(self, keys: Sequence[int]) -> list[int]:
        return list(keys)

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self.drop()
        self._loop.drop()


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
    statement, values = _insertion(executions, tags)
    return {key for (key,) in psycopg.RawCursor(connection).execute(statement, values, prepare=True)}


def _insertion(executions: Sequence[Row], tags: Sequence[Row]) -> tuple[str, list[Any]]:
    """The statement that does so, and its parameters."""
    # By name: two processes that insert the same names in different orders would wait for each other.
    kind, values = _EXECUTIONS.arrays(sorted(executions, key=id_of))
    kind_of_tags, values_of_tags = _TAGS.arrays(tags)
    return numbered(_statement(kind, kind_of_tags)), [*values, *values_of_tags]


def _left(executions: Sequence[Row], created: Collection[int]) -> list[Any]:
    """Names of those that were not created, as parameters of _TAKEN; nothing where there are none."""
    ids = [id_of(row) for row in executions if row[KEY] not in created]
    return [TextArray(column) for column in zip(*ids, strict=True)]


def _by_name(taken: Iterable[Row]) -> Mapping[ExecutionId, int | None]:
    return {ExecutionId(*row[:3]): row[3] for row in taken}


@cache
def _statement(kind: int, kind_of_tags: int) -> str:
    tagged = f", {_TAGS.statement(kind_of_tags)}" if kind_of_tags != NOTHING else ""
    return f"WITH {_EXECUTIONS.statement(kind)}{tagged} SELECT key FROM created"


_TAKEN = (
    "SELECT project, domain, name, collected_at_us FROM executions "
    "JOIN unnest(%b, %b, %b) AS asked (project, domain, name) USING (project, domain, name)"
)
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
