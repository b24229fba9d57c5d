"""From nothing to the present schema, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from libs.store import migrate, schema
from libs.store.engine import check_schema, open_async
from libs.store.engine_sync import open_sync
from libs.store.ledger import Ledger
from libs.workflow.errors import FailedPrecondition, Unavailable
from libs.workflow.identity import EntityId
from tests.support import stored
from tests.support.postgres import PostgresServer

FIRST_ROWS: dict[str, dict[str, object]] = {
    "executions": {
        "key": 1,
        "project": "p",
        "domain": "d",
        "name": "old",
        "shard": 0,
        "root_key": 1,
        "parent_node_id": "",
        **{f"{entity}_{part}": "x" for entity in ("workflow", "launch_plan") for part in EntityId._fields},
        "resource_type": 3,
        "mode": 0,
        "principal": "anna",
        "spec": b"",
        "inputs_inline": b"",
        "inputs_size": 0,
        "traceparent": "",
        "created_at_us": 1,
        "generation": 1,
        "desired": 1,
        "abort_cause": "",
        "abort_principal": "",
        "state": 0,
        "phase": 2,
        "observed_generation": 1,
        "updated_at_us": 1,
    },
    "nodes": {
        "execution_key": 1,
        "node_id": "n0",
        "spec_id": "n0",
        "parent_id": "",
        "kind": 3,
        "phase": 2,
        "attempt": 0,
        "user_failures": 0,
        "system_failures": 0,
        "created_at_us": 5,
    },
}
"""Rows as the first revision has them."""


@contextmanager
def raw(url: str) -> Iterator[sqlalchemy.Connection]:
    engine = open_sync(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def migrate_to(url: str, revision: str) -> None:
    """Brings an empty database to an older revision, as the program of that time did."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with raw(url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_empty_database(f"empty_{tmp_path.name}")
    request.addfinalizer(lambda: server.drop_database(url))
    return url


def test_the_migrations_make_the_tables_of_the_schema(database_url: str) -> None:
    engine = open_sync(database_url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
        found = sqlalchemy.inspect(connection)
        indices = {table: {index["name"] for index in found.get_indexes(table)} for table in schema.metadata.tables}
    engine.dispose()
    assert differences == []
    assert indices == {name: {index.name for index in table.indexes} for name, table in schema.metadata.tables.items()}


def test_the_migrations_give_indices_the_conditions_of_the_schema(sqlite_url: str) -> None:
    """Word for word: SQLite uses a partial index only for a query that has its very condition."""
    made = sqlalchemy.create_engine("sqlite://")
    schema.metadata.create_all(made)
    asked = sqlalchemy.text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    )
    with made.connect() as connection:
        wanted = connection.execute(asked).all()
    made.dispose()
    with raw(sqlite_url) as connection:
        assert connection.execute(asked).all() == wanted


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    Ledger(empty_url).check_schema()


def test_a_populated_database_of_the_first_revision_keeps_its_rows_and_takes_new_ones(empty_url: str) -> None:
    migrate_to(empty_url, "0001")
    with raw(empty_url) as connection:
        for table, row in FIRST_ROWS.items():
            values = ", ".join(f":{name}" for name in row)
            connection.execute(sqlalchemy.text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row)
    migrate.upgrade(empty_url)
    ledger = Ledger(empty_url)
    ledger.check_schema()
    (found,) = ledger.load(0, [1])
    assert (found.execution.principal, found.execution.parent_key, found.execution.recovers_key) == ("anna", None, None)
    assert found.nodes == [stored.node("n0", created_at_us=5, task=None)]
    epoch = ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    turn = stored.with_nodes(found.execution, stored.node("n1", items=3, created_at_us=6))
    turn.children.append(stored.child(found.execution, 2))
    ledger.commit(0, epoch, [turn])
    assert [each.items for each in ledger.load(0, [1])[0].nodes] == [None, 3]
    assert ledger.live(0, 0, 10) == [1, 2]
    ledger.close()


def test_any_number_of_processes_may_migrate_at_once(empty_url: str) -> None:
    failures: list[Exception] = []

    def upgrade() -> None:
        try:
            migrate.upgrade(empty_url)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    Ledger(empty_url).check_schema()


async def test_an_unknown_revision_is_refused_by_everybody(database_url: str) -> None:
    engine = open_async(database_url)
    await check_schema(engine)
    for revision, message in (("0000", "run `airscrew migrate`"), ("9999", "newer Airscrew")):
        sync = open_sync(database_url)
        with sync.begin() as connection:
            connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
        sync.dispose()
        with pytest.raises(FailedPrecondition, match=message):
            await check_schema(engine)
        with pytest.raises(FailedPrecondition, match=message):
            Ledger(database_url).check_schema()
    with pytest.raises(FailedPrecondition, match="newer Airscrew"):
        migrate.upgrade(database_url)
    await engine.dispose()


def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/nothing")
