"""What every synchronous connection to PostgreSQL has: an end to each wait, and rows as one array per column."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

from libs.store import postgres_arrays, rows, schema

ANSWER_SECONDS = 2.0
"""The longest wait for the server's answer. Its own timeouts are shorter; this one is for a server that is stopped, or
a network that lost it."""

BY_KEY = (
    # Everything here is found by key. A plan that was made while the tables were small would scan them for ever.
    "enable_seqscan=off",
    "enable_hashjoin=off",
    "enable_mergejoin=off",
    "plan_cache_mode=force_generic_plan",
    "jit=off",
)
"""Settings of the server for a connection whose statements are prepared and ask for few rows of large tables."""

T = TypeVar("T")

_NAME = re.compile(r"(?<!:):(\w+)")

CONNECT_SECONDS = 2

Types = Sequence[type[postgres_arrays.Array]]


class Connection(psycopg.Connection[rows.Row]):
    """A connection on which no wait is endless, and which sends `postgres_arrays`."""

    patience_seconds = ANSWER_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return super().wait(gen, interval, self.patience_seconds if timeout is None else timeout)

    @classmethod
    def open(cls, url: str, options: str) -> Self:
        """Connects. `options` are those of the server's session, as libpq has them."""
        connection = cls.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS, options=options)
        postgres_arrays.register(connection)
        return connection


def options(*settings: str) -> str:
    """Settings of the server's session as libpq has them."""
    return " ".join(f"-c {setting}" for setting in settings)


@cache
def numbered(statement: str) -> str:
    """A statement with `%b` in the server's own spelling, for `psycopg.RawCursor`. The driver would translate one that
    is long, or has many parameters, whenever it runs; it takes longer for that than the server for the statement."""
    numbers = itertools.count(1)
    return re.sub("%b", lambda _: f"${next(numbers)}", statement)


@cache
def positional(statement: str) -> tuple[str, Sequence[str]]:
    """A statement with `:name` in the server's own spelling, and the names in the order in which it wants them."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _NAME.sub(number, statement), names


@cache
def named(statement: str) -> str:
    """`:name` of our shared statements in the driver's spelling."""
    return _NAME.sub(r"%(\1)s", statement)


def types_of(table: str, columns: Sequence[str]) -> Types:
    """What carries each of these columns."""
    by_python_type: dict[type, type[postgres_arrays.Array]] = {
        int: postgres_arrays.Int8Array,
        str: postgres_arrays.TextArray,
        bytes: postgres_arrays.ByteaArray,
    }
    return [by_python_type[schema.metadata.tables[table].c[name].type.python_type] for name in columns]


def arrays(values: Sequence[rows.Row], types: Types) -> Iterator[Any]:
    """The rows turned into one array per column."""
    columns = zip(*values, strict=True) if values else [()] * len(types)
    return (kind(column) for kind, column in zip(types, columns, strict=True))


def unnest(types: Types, columns: Sequence[str], name: str = "new") -> str:
    """The arrays turned into rows again, as a table of this name."""
    return f"unnest({', '.join(['%b'] * len(types))}) AS {name} ({', '.join(columns)})"
