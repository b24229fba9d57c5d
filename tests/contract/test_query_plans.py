"""The questions that are asked all the time are answered from an index, on both databases."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from libs.store import ledger, ledger_rows

SWEEPS = {
    "executions_wanting_attention": ledger._WANTING,
    "executions_with_timer": ledger._TIMED_OUT,
    "executions_live": ledger._LIVE,
    "executions_by_parent": ledger_rows.ABORT_BELOW,
}
VALUES = {
    "shard": 0,
    "now": 1,
    "limit": 10,
    "after": 0,
    "parent": 1,
    "child": 2,
    "cause": "''",
    "principal": "''",
    "epoch": 1,
}


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
