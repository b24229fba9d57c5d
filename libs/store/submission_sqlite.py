"""New executions into a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from libs.store import launches, sqlite
from libs.store.at_once import AtOnce
from libs.store.rows import Row
from libs.store.sqlite_groups import Groups, Layout, fill, insert_new
from libs.store.submission_rows import KEY, PARENT, Batch, Stored, gone_of, hold, id_of, is_ending, sources_of
from libs.workflow.identity import ExecutionId


class SqliteDoor:
    """One connection for a thread and one for an event loop, opened when they are needed, dropped after a failure."""

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

    async def store_on_loop(self, batch: Batch) -> None:
        """Whatever is not small keeps its thread busy."""

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

    def close(self) -> None:
        self.drop()


def _store(connection: sqlite3.Connection, batch: Batch) -> Stored:
    executions, tags = batch.executions, batch.tags
    orphans: set[int] = set()
    if batch.parents and (ending := _ending(connection, batch.parents)):
        orphans = {row[KEY] for row in executions if row[PARENT] in ending}
        executions = [row for row in executions if row[KEY] not in orphans]
    inserted = insert_new(connection, _EXECUTIONS, _groups(executions))
    created = {row[KEY] for row in executions}
    taken: Mapping[ExecutionId, int | None] = {}
    if inserted < len(executions):
        created, taken = _sort_out(connection, executions)
    if tags:
        if len(created) < len(batch.executions) or batch.wishes:
            tags = [row for row in tags if row[0] in created]
        insert_new(connection, _TAGS, {0: list(chain.from_iterable(tags))})
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


def _groups(executions: Iterable[Row]) -> Groups:
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for row in executions:
        seldom = _seldom(row)
        if seldom == _NO_SELDOM:
            groups[0] += _usual(row)
        else:
            values = list(_usual(row))
            groups[fill(values, seldom)] += values
    return groups


_USUAL = [name for name in launches.COLUMNS if name not in launches.SELDOM]
_usual = itemgetter(*(launches.COLUMNS.index(name) for name in _USUAL))
_seldom = itemgetter(*(launches.COLUMNS.index(name) for name in launches.SELDOM))
_NO_SELDOM = (None,) * len(launches.SELDOM)
_EXECUTIONS = Layout("executions", _USUAL, optional=[(name,) for name in launches.SELDOM])
_TAGS = Layout("execution_tags", launches.TAG_COLUMNS)
_NAMED = "SELECT collected_at_us FROM executions WHERE project = ? AND domain = ? AND name = ?"
