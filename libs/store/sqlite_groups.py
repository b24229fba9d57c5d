"""Many rows into SQLite with as little as possible for the driver to do.

Rows that fill the same columns are written together and the empty columns are left out: to bind a NULL takes the driver
ten times as long as to bind a number, and of a node's 35 columns a dozen are NULL. A statement writes many rows: for
each one that it runs the driver lets go of Python's lock and takes it again; beside an event loop that is busy it waits
up to 5 ms for that, and holds the database's only write lock meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

AT_ONCE = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""Rows that one statement writes. A few sizes, so that statements stay prepared."""

STATEMENTS = 256
"""How many statements a connection should keep prepared: a dozen shapes of rows are usual, each in all these sizes."""

Groups = Mapping[int, list[Any]]
"""By shape, the values of rows, one row after the other."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The columns of a table's rows. The bits of a row's shape say which of `optional` it fills; others are NULL."""

    table: str
    always: Sequence[str]
    key: Sequence[str] = ()
    optional: Sequence[Sequence[str]] = ()
    unless: str = "0"
    """A row of which this holds is never changed."""

    def columns(self, shape: int) -> Sequence[str]:
        """Of the values of a row, in their order."""
        filled = (names for bit, names in enumerate(self.optional) if shape >> bit & 1)
        return (*self.key, *self.always, *chain.from_iterable(filled))

    def changing(self) -> Sequence[str]:
        """All but the key."""
        return tuple(dict.fromkeys((*self.always, *chain.from_iterable(self.optional))))


def fill(values: list[Any], optional: Sequence[Any], bit: int = 1) -> int:
    """Adds what of `optional` is not NULL; returns its shape, in which `bit` is that of the first."""
    shape = 0
    for value in optional:
        if value is not None:
            shape |= bit
            values.append(value)
        bit <<= 1
    return shape


def insert(connection: sqlite3.Connection, layout: Layout, groups: Groups) -> int:
    """Adds rows; returns how many."""
    return _run(connection, layout, groups, _insert)


def insert_new(connection: sqlite3.Connection, layout: Layout, groups: Groups) -> int:
    """Adds the rows that clash with none that is there; returns how many."""
    return _run(connection, layout, groups, _insert_new)


def upsert(connection: sqlite3.Connection, layout: Layout, groups: Groups) -> int:
    """Adds rows, or changes those that are there; returns how many were added or changed."""
    return _run(connection, layout, groups, _upsert)


def update(connection: sqlite3.Connection, layout: Layout, groups: Groups) -> int:
    """Changes the rows that are there; returns how many."""
    return _run(connection, layout, groups, _update, len(layout.key))


def _run(
    connection: sqlite3.Connection,
    layout: Layout,
    groups: Groups,
    statement: Callable[[Layout, int, int], str],
    key_last: int = 0,
) -> int:
    """The statement for a single row has so many values of its key after all others."""
    changed = 0
    for shape, values in groups.items():
        width, first = _width(layout, shape), 0
        for size in AT_ONCE:
            length = size * width
            while len(values) - first >= length:
                some = values if len(values) == length else values[first : first + length]
                if size == 1 and key_last:
                    some = some[key_last:] + some[:key_last]
                changed += connection.execute(statement(layout, shape, size), some).rowcount
                first += length
    return changed


@lru_cache(maxsize=STATEMENTS)
def _width(layout: Layout, shape: int) -> int:
    return len(layout.columns(shape))


def _rows(width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * size)}"


@lru_cache(maxsize=2 * STATEMENTS)
def _insert(layout: Layout, shape: int, size: int) -> str:
    columns = layout.columns(shape)
    return f"INSERT INTO {layout.table} ({', '.join(columns)}) {_rows(len(columns), size)}"


@lru_cache(maxsize=2 * STATEMENTS)
def _insert_new(layout: Layout, shape: int, size: int) -> str:
    return f"{_insert(layout, shape, size)} ON CONFLICT DO NOTHING"


@lru_cache(maxsize=2 * STATEMENTS)
def _upsert(layout: Layout, shape: int, size: int) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in layout.changing())
    conflict = f"ON CONFLICT ({', '.join(layout.key)}) DO UPDATE SET {changes} WHERE NOT {layout.unless}"
    return f"{_insert(layout, shape, size)} {conflict}"


@lru_cache(maxsize=2 * STATEMENTS)
def _update(layout: Layout, shape: int, size: int) -> str:
    columns = layout.columns(shape)
    if size == 1:  # without a table of new rows, which has to be made first: half the time
        new = dict.fromkeys(columns, "?")  # not by number: the driver takes that for a name, and wants a mapping then
    else:
        new = {name: f"new.column{number}" for number, name in enumerate(columns, start=1)}
    # In the order of the values.
    changing = dict.fromkeys((*columns[len(layout.key) :], *layout.changing()))
    changes = ", ".join(f"{name} = {new.get(name, 'NULL')}" for name in changing)
    found = " AND ".join(f"{name} = {new[name]}" for name in layout.key)
    source = "" if size == 1 else f"FROM ({_rows(len(columns), size)}) AS new"
    return f"UPDATE {layout.table} SET {changes} {source} WHERE {found} AND NOT {layout.unless}"
