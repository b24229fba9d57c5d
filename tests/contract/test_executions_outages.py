"""What admin's side of the store says while the database is away, locked or silent, and that it works again after."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import engine as engines
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.query import Query
from libs.workflow.errors import FailedPrecondition, Unavailable
from tests.support import stored
from tests.support.postgres import PostgresServer

SOON_SECONDS = 20.0  # two by design; here it is only seen that it ends


@contextmanager
def unavailable_soon() -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        yield
    assert time.monotonic() - began < SOON_SECONDS


async def test_with_a_locked_sqlite_file_submissions_are_unavailable_and_reads_go_on(sqlite_url: str) -> None:
    engine = open_async(sqlite_url)
    executions = Executions(engine)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with unavailable_soon():
        await executions.create(stored.record(1))
    assert (await executions.list(Query())).items == []
    other.execute("ROLLBACK")
    other.close()
    await executions.create(stored.record(1))
    assert len((await executions.list(Query())).items) == 1
    await executions.close()
    await engine.dispose()


async def test_with_a_stopped_postgres_everything_is_unavailable_and_works_again_after(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    engine = open_async(postgres_url)
    executions, quiet = Executions(engine), Executions(engine)
    await asyncio.gather(*(executions.list(Query()) for _ in range(5)))  # so that there are connections to lose
    assert (await executions.get_by_key([1]), await quiet.get_by_key([1])) == ([], [])
    postgres_server.stop()
    try:
        for _ in range(2):
            with unavailable_soon():
                await executions.create(stored.record(1))
            with unavailable_soon():
                await executions.list(Query())
            with unavailable_soon():
                await executions.get_by_key([1])
    finally:
        postgres_server.start()
    await executions.create(stored.record(1))
    assert len((await executions.list(Query())).items) == 1
    for each in (executions, quiet):  # the other one has not noticed that its connection is dead
        assert len(await each.get_by_key([1])) == 1
        await each.close()
    await engine.dispose()


async def test_many_waiting_submissions_are_all_answered_when_the_database_is_away(sqlite_url: str) -> None:
    engine = open_async(sqlite_url)
    executions = Executions(engine)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = await asyncio.gather(
        *(executions.create(stored.record(key)) for key in range(20)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {Unavailable}
    other.close()
    await executions.close()
    await engine.dispose()


async def test_a_database_that_never_answers_is_given_up(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ANSWER_SECONDS", 0.1)
    with pytest.raises(Unavailable):
        async with engines.reading(engine):
            await asyncio.sleep(5)
    monkeypatch.undo()
    await engines.check_schema(engine)


async def test_an_empty_database_is_refused_with_the_way_out(tmp_path: object) -> None:
    engine = open_async(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(FailedPrecondition, match="airscrew migrate"):
        await engines.check_schema(engine)
    await engine.dispose()
