"""New executions into a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from libs.store import launches, sqlite
from libs.store.at_once import AtOnce
from libs.store.rows import Row
from libs.store.submission_rows import KEY, PARENT, Batch, Stored, gone_of, hold, id_of, is_ending, sources_of
from libs.workflow.identity import ExecutionId

_AT_ONCE = (256, 32, 4, 1)
"""Rows that one statement inserts. The driver lets other threads run once for each statement, and comes back only when
a busy one lets go: with a statement for each row, a batch would take as many times 5 ms as it has rows. A few sizes,
so that statements stay prepared."""


class SqliteDoor:
    """One connection, opened when it is needed and dropped after a failure."""

    keys_in = "IN (SELECT value FROM json_each(:keys))"
    fence_lock = ""  # BEGIN IMMEDIATE has locked everything already

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: sqlite.Writer | None = None
        self._at_once = AtOnce(path)

    def store(self, batch: Batch) -> Stored:
        self._at_once.open()
        if self._writer is None:
            self._writer = sqlite.Writer(sqlite.connect(self._path))
        with self._writer.transaction() as connection:
            return self._store(connection, batch)

    def store_at_once(self, batch: Batch) -> Stored | None:
        with self._at_once.writing() as connection:
            return None if connection is None else self._store(connection, batch)

    def keys(self, keys: Sequence[int]) -> str:
        return json.dumps(list(keys))

    def _store(self, connection: sqlite3.Connection, batch: Batch) -> Stored:
        if not batch.wishes:
            return _store(connection, batch)

        def execute(statement: str, parameters: Mapping[str, Any]) -> list[Row]:
            return connection.execute(statement, parameters).fetchall()

        sources = sources_of(execute, self, batch.wishes)
        gone = gone_of(batch.wishes, sources)
        left = [row for row in batch.executions if row[KEY] not in gone] if gone else batch.executions
        stored = _store(connection, replace(batch, executions=left))
        hold(execute, batch.wishes, sources, stored.created)
        return stored._replace(gone=gone)

    def drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.connection.close()
        self._at_once.close()


def _store(connection: sqlite3.Connection, batch: Batch) -> Stored:
    executions, tags = batch.executions, batch.tags
    orphans: set[int] = set()
    if batch.parents and (ending := _ending(connection, batch.parents)):
        orphans = {row[KEY] for row in executions if row[PARENT] in ending}
        executions = [row for row in executions if row[KEY] not in orphans]
    inserted = _insert(connection, "executions", launches.COLUMNS, executions)
    created = {row[KEY] for row in executions}
    taken: Mapping[ExecutionId, int | None] = {}
    if inserted < len(executions):
        created, taken = _sort_out(connection, executions)
    if tags:
        if len(created) < len(batch.executions) or batch.wishes:
            tags = [row for row in tags if row[0] in created]
        _insert(connection, "execution_tags", launches.TAG_COLUMNS, tags)
    return Stored(created, taken, orphans)


def _ending(connection: sqlite3.Connection, parents: Collection[int]) -> set[int]:
    """Those that have ended or are about to. They stay as they are until the commit, for nobody else writes."""
    asked = "SELECT key, desired, phase FROM executions WHERE key IN (SELECT value FROM json_each(?))"
    found = connection.execute(asked, (json.dumps(list(parents)),))
    return {key for key, desired, phase in found if is_ending(desired, phase)}


def _sort_out(
    connection: sqlite3.Connection, executions: Sequence[Row]
) -> tuple[set[int], Mapping[ExecutionId, int | None]]:
    """The keys of those that were inserted, and the names of those that were not because others have them."""
    asked = "SELECT key, project, domain, name FROM executions WHERE key IN (SELECT value FROM json_each(?))"
    there = connection.execute(asked, (json.dumps([row[KEY] for row in executions]),))
    names = {key: ExecutionId(*name) for key, *name in there}
    created: set[int] = set()
    taken: dict[ExecutionId, int | None] = {}
    for row in executions:
        id = id_of(row)
        if names.get(row[KEY]) == id and row[KEY] not in created:
            created.add(row[KEY])
        elif (found := connection.execute(_NAMED, id).fetchone()) is not None:
            taken[id] = found[0]
    return created, taken


def _insert(connection: sqlite3.Connection, table: str, columns: Sequence[str], values: Sequence[Row]) -> int:
    """Inserts what does not clash with what is there; returns how many."""
    inserted = start = 0
    for size in _AT_ONCE:
        while len(values) - start >= size:
            row = chain.from_iterable(values[start : start + size])
            inserted += connection.execute(_insert_many(table, tuple(columns), size), tuple(row)).rowcount
            start += size
    return inserted


@cache
def _insert_many(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING"


_NAMED = "SELECT collected_at_us FROM executions WHERE project = ? AND domain = ? AND name = ?"
