"""The questions that are asked all the time are answered from an index, on both databases."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.types.numeric import Int8

from libs.store import bykey_postgres, ledger, submission_postgres
from libs.store.ledger_postgres import _OPTIONS, PostgresLedger
from libs.store.ledger_rows import batch_of
from libs.store.ledger_sqlite import SqliteLedger
from libs.store.postgres import named, numbered, positional
from libs.store.postgres_arrays import ByteaArray, Int8Array, TextArray
from libs.store.postgres_commit import commit_of
from tests.support import stored

BY_KEY = {
    "executions": ledger._EXECUTIONS,
    "new executions": ledger._NEW,
    "nodes": ledger._NODES,
    "attempts": ledger._ATTEMPTS,
    "intents": ledger._INTENTS,
    "signals": ledger._SIGNALS,
    "ends": ledger._FINALS,
}
BY_PRIMARY_KEY = re.compile(r"Index .*_pkey.*Index Cond: \(\(?(execution_)?key = ANY")
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


@pytest.mark.parametrize("asked", BY_KEY)
def test_postgres_finds_what_a_leader_reads_by_its_key_even_while_it_knows_nothing_of_the_tables(
    postgres_url: str, asked: str
) -> None:
    statement, names = positional(BY_KEY[asked].format(keys_in=PostgresLedger.keys_in))
    plan = plan_of(postgres_url, _OPTIONS, statement, ["bigint" if name == "shard" else "bigint[]" for name in names])
    assert BY_PRIMARY_KEY.search(plan), plan


def test_postgres_finds_what_admin_looks_at_by_its_key_even_while_it_knows_nothing_of_the_table(
    postgres_url: str,
) -> None:
    """Of an empty table the planner takes all that has not been collected for a handful."""
    plan = plan_of(postgres_url, bykey_postgres._OPTIONS, bykey_postgres._READ, ["bigint[]"])
    assert BY_PRIMARY_KEY.search(plan), plan


def test_postgres_finds_whose_name_is_taken_by_an_index_even_while_it_knows_nothing_of_the_table(
    postgres_url: str,
) -> None:
    plan = plan_of(postgres_url, submission_postgres._OPTIONS, numbered(submission_postgres._TAKEN), ["text[]"] * 3)
    assert "executions_by_name" in plan


def plan_of(url: str, options: str, statement: str, types: Sequence[str]) -> str:
    """That of a prepared statement."""
    with psycopg.connect(url, options=options) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE asked ({', '.join(types)}) AS {statement}")
        found = connection.execute(f"EXPLAIN EXECUTE asked ({', '.join(['NULL'] * len(types))})").fetchall()
    return str(found)


def test_postgres_finds_what_a_commit_changes_by_its_key_even_while_it_knows_nothing_of_the_tables(
    postgres_url: str,
) -> None:
    """Of an empty table the planner takes all that is live in a shard for a handful, which it could look through."""
    statement, parameters = commit_of(0, 1, batch_of([stored.running(stored.execution())]))
    types = [TYPES[type(parameter)] for parameter in parameters]
    plan = plan_of(postgres_url, _OPTIONS, numbered(statement), types)
    assert "executions_pkey" in plan
    assert "executions_live" not in plan
