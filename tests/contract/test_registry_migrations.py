"""From nothing to the present schema, on both databases."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from libs.store import migrate, schema
from libs.store.engine import open_async, open_sync
from libs.store.ledger import Ledger
from libs.workflow.errors import FailedPrecondition, Unavailable
from tests.support.postgres import PostgresServer


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


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    Ledger(empty_url).check_schema()


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
    await migrate.check(engine)
    for revision, message in (("0000", "run `airscrew migrate`"), ("9999", "newer Airscrew")):
        sync = open_sync(database_url)
        with sync.begin() as connection:
            connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
        sync.dispose()
        with pytest.raises(FailedPrecondition, match=message):
            await migrate.check(engine)
        with pytest.raises(FailedPrecondition, match=message):
            Ledger(database_url).check_schema()
    with pytest.raises(FailedPrecondition, match="newer Airscrew"):
        migrate.upgrade(database_url)
    await engine.dispose()


def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/nothing")
