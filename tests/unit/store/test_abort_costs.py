"""Aborting children one by one costs each child the same, however many there are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine

from libs.store import schema
from libs.store.ledger_sqlite import SqliteLedger
from libs.workflow.phases import Desired, ExecutionPhase


def test_a_child_is_not_looked_for_among_all_others(tmp_path: Path) -> None:
    few, many = _steps(tmp_path / "few", 200), _steps(tmp_path / "many", 2_000)
    assert many < 15 * few


def _steps(path: Path, children: int) -> int:
    """How much SQLite computes to abort all children of an execution one by one, in hundreds of its instructions."""
    engine = create_engine(f"sqlite:///{path}")
    schema.metadata.create_all(engine)
    engine.dispose()
    ledger = SqliteLedger(path)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO leadership (shard, epoch, etcd_cluster, create_revision, holder, address, claimed_at_us) "
            "VALUES (0, 1, '', 1, '', '', 0)"
        )
        for key in range(1, children + 2):
            _insert(connection, key)
        count = 0

        def progress() -> int:
            nonlocal count
            count += 1
            return 0

        connection.set_progress_handler(progress, 100)
        aborts = [(1, key, "", "") for key in range(2, children + 2)]
        for statement, parameters in ledger.aborts(aborts, 0, 1):
            connection.execute(statement, parameters)
        connection.set_progress_handler(None, 0)
        found = connection.execute("SELECT count(*) FROM executions WHERE desired = ?", (Desired.ABORT,)).fetchone()
    connection.close()
    assert found == (children,)
    return count


def _insert(connection: sqlite3.Connection, key: int) -> None:
    """An execution that runs; all but the first are children of that."""
    row: dict[str, object] = {
        column.name: column.type.python_type() for column in schema.executions.columns if not column.nullable
    }
    row |= {"key": key, "name": str(key), "phase": ExecutionPhase.RUNNING, "desired": Desired.RUN, "generation": 1}
    if key > 1:
        row |= {"parent_key": 1, "parent_node_id": f"n{key}"}
    places = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO executions ({', '.join(row)}) VALUES ({places})", row)
