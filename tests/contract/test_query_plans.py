"""The questions that are asked all the time are answered from an index, on both databases."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from psycopg.types.numeric import Int8

from libs.store import ledger
from libs.store.ledger_postgres import _OPTIONS, PostgresLedger
from libs.store.ledger_rows import batch_of
from libs.store.ledger_sqlite import SqliteLedger
from libs.store.postgres import named, numbered
from libs.store.postgres_arrays import ByteaArray, Int8Array, TextArray
from libs.store.postgres_commit import commit_of
from tests.support import stored

SWEEPS = {
    "executions_wanting_attention": ledger._WANTING,
    "executions_with_timer": ledger._TIMED_OUT,
    "executions_live": ledger._LIVE,
}
VALUES = {"shard": 0, "now": 1, "limit": 10, "after": 0}
ABORT = (1, None, "", "")
TYPES: dict[type, str] = {Int8: "bigint", Int8Array: "bigint[]", TextArray: "text[]", ByteaArray: "bytea[]"}


@pytest.mark.parametrize("index", SWEEPS)
def test_sqlite_sweeps_by_a_partial_index(sqlite_url: str, index: str) -> None:
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    plan = connection.execute(f"EXPLAIN QUERY PLAN {SWEEPS[index]}", VALUES).fetchall()
    connection.close()
    assert f"INDEX {index} " in str(plan)
    assert "TEMP B-TREE" not in str(plan)


@pytest.mark.parametrize("index", SWEEPS)
def test_postgres_sweeps_by_a_partial_index(postgres_url: str, index: str) -> None:
    statement = SWEEPS[index]
    for name, value in VALUES.items():
        statement = statement.replace(f":{name}", str(value))
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(f"EXPLAIN {statement}").fetchall()
    assert index in str(plan)


def test_sqlite_counts_what_is_live_by_a_partial_index(sqlite_url: str) -> None:
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    plan = connection.execute(f"EXPLAIN QUERY PLAN {ledger._LEVELS}", {"shard": 0}).fetchall()
    connection.close()
    assert "INDEX executions_live " in str(plan)


def test_postgres_counts_what_is_live_by_a_partial_index(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(f"EXPLAIN {ledger._LEVELS.replace(':shard', '0')}").fetchall()
    assert "executions_live" in str(plan)


def test_sqlite_finds_children_by_an_index(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    ((statement, parameters),) = SqliteLedger(path).aborts([ABORT], 0, 1)
    connection = sqlite3.connect(path)
    plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())
    connection.close()
    assert plan.count("INDEX executions_by_parent ") == 2
    assert "SCAN executions" not in plan


def test_postgres_finds_children_by_an_index(postgres_url: str) -> None:
    *settings, (statement, parameters) = PostgresLedger(postgres_url).aborts([ABORT], 0, 1)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SET enable_seqscan = off")
        for setting, _ in settings:
            connection.execute(setting)
        plan = connection.execute(f"EXPLAIN {named(statement)}", parameters).fetchall()
    assert str(plan).count("executions_by_parent") >= 2


def test_postgres_finds_what_a_commit_changes_by_its_key_even_while_it_knows_nothing_of_the_tables(
    postgres_url: str,
) -> None:
    """Of an empty table the planner takes all that is live in a shard for a handful, which it could look through."""
    statement, parameters = commit_of(0, 1, batch_of([stored.running(stored.execution())]))
    types = ", ".join(TYPES[type(parameter)] for parameter in parameters)
    with psycopg.connect(postgres_url, options=_OPTIONS) as connection:
        connection.execute(f"PREPARE changes ({types}) AS {numbered(statement)}")
        plan = str(connection.execute(f"EXPLAIN EXECUTE changes ({', '.join(['NULL'] * len(parameters))})").fetchall())
    assert "executions_pkey" in plan
    assert "executions_live" not in plan
