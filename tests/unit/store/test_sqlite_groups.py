"""A row that is written alone ends up as one that is written with others."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateTable

from libs.store import launches, rows, schema
from libs.store.sqlite_groups import update
from libs.store.sqlite_states import EXECUTIONS, executions
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import Data, ExecutionState
from tests.support import stored

UNKNOWN = 9
OBSERVED = ("key", *rows.EXECUTION_OBSERVED)


class Strict(sqlite3.Connection):
    """Of a driver that takes a sequence for placeholders without a name or number only, as from Python 3.14 on."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if isinstance(parameters, Sequence):
            assert not re.search(r"\?\d|[:@$]\w", sql)
        return super().execute(sql, parameters)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """With executions 1 and 2 in shard 0, which run, and 3, which has ended."""
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=Strict)
    connection.execute(str(CreateTable(schema.executions).compile(dialect=dialect())))
    for key, phase in ((1, ExecutionPhase.RUNNING), (2, ExecutionPhase.RUNNING), (3, ExecutionPhase.FAILED)):
        state = stored.execution(key, phase=phase, next_wake_at_us=1, started_at_us=2, error=b"old")
        columns = dict(zip(launches.COLUMNS, launches.child_row(state), strict=True))
        columns |= dict(zip(OBSERVED, rows.observed_row(state), strict=True))
        connection.execute(
            f"INSERT INTO executions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            tuple(columns.values()),
        )
    yield connection
    connection.close()


def written(connection: sqlite3.Connection, shard: int, *states: ExecutionState) -> tuple[int, list[rows.Row]]:
    """What has changed, and all that is there after it; then it is taken back."""
    connection.execute("BEGIN")
    try:
        count = update(connection, EXECUTIONS, executions(shard, states))
        return count, connection.execute(f"SELECT {', '.join(OBSERVED)}, * FROM executions ORDER BY key").fetchall()
    finally:
        connection.execute("ROLLBACK")


@pytest.mark.parametrize(("key", "shard", "changes"), [(1, 0, 1), (1, 7, 0), (3, 0, 0), (UNKNOWN, 0, 0)])
def test_an_execution_is_updated_alone_as_it_is_with_others(
    connection: sqlite3.Connection, key: int, shard: int, changes: int
) -> None:
    """Whatever of its columns is filled."""
    for outputs, started, ended, wake, error in product(
        (None, Data.of(b"outputs"), Data(None, "s3://bucket/outputs", 5)),
        *((None, value) for value in (11, 12, 13, b"error")),
    ):
        state = stored.execution(
            key,
            phase=ExecutionPhase.SUCCEEDING,
            observed_generation=4,
            updated_at_us=10,
            outputs=outputs,
            started_at_us=started,
            ended_at_us=ended,
            next_wake_at_us=wake,
            error=error,
        )
        count, found = written(connection, shard, state)
        assert (count, found) == written(connection, shard, state, replace(state, key=UNKNOWN + 1))
        assert count == changes
        assert (rows.observed_row(state) in [row[: len(OBSERVED)] for row in found]) is bool(changes)


def test_an_execution_that_is_left_over_is_updated_as_the_others(connection: sqlite3.Connection) -> None:
    states = [stored.execution(key, phase=ExecutionPhase.RUNNING, started_at_us=11 + key) for key in (UNKNOWN, 2, 1)]
    count, found = written(connection, 0, *states)
    assert count == 2
    assert [row[: len(OBSERVED)] for row in found[:2]] == [rows.observed_row(state) for state in reversed(states[1:])]
