"""Looks by key at a real PostgreSQL, over one connection that all who look share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest
import pytest_asyncio

from libs.store import rows
from libs.store.bykey_postgres import PostgresByKey
from libs.store.postgres_arrays import Array
from libs.store.postgres_loop import LoopConnection
from libs.workflow.errors import Unavailable

Other = psycopg.Connection[tuple[object, ...]]

OF_LOOKS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'airscrew-by-key'"
SOON_SECONDS = 20.0


@pytest.fixture
def other(postgres_url: str) -> Iterator[Other]:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        yield other


@pytest_asyncio.fixture
async def looks(postgres_url: str) -> AsyncIterator[PostgresByKey]:
    looks = PostgresByKey(postgres_url)
    assert await looks.read([1]) == []
    yield looks
    await looks.close()


@contextmanager
def nobody_reads(url: str) -> Iterator[None]:
    with psycopg.connect(url) as locking:
        locking.execute("LOCK TABLE executions IN ACCESS EXCLUSIVE MODE")
        yield


def backends(other: Other) -> list[object]:
    return [pid for (pid,) in other.execute(f"SELECT pid {OF_LOOKS}").fetchall()]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while not holds():
            await asyncio.sleep(0.005)


def one_waits(other: Other) -> bool:
    return bool(other.execute(f"SELECT 1 {OF_LOOKS} AND wait_event_type = 'Lock'").fetchall())


async def test_looks_that_are_cancelled_leave_the_connection_to_those_who_come_after(
    looks: PostgresByKey, other: Other, postgres_url: str
) -> None:
    before = backends(other)
    assert len(before) == 1
    with nobody_reads(postgres_url):
        for steps in range(8):  # of the loop until they are cancelled: before they are sent, and after
            look = asyncio.create_task(looks.read([1]), name="cancelled")
            for _ in range(steps):
                await asyncio.sleep(0)
            look.cancel()
            await asyncio.wait([look])
            assert look.cancelled()
        await until(lambda: one_waits(other))
        assert backends(other) == before
    assert await looks.read([1]) == []
    assert backends(other) == before


@pytest.fixture
def asked(looks: PostgresByKey, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the connection is asked from now on."""
    asked: list[str] = []

    async def execute(statement: str, values: Sequence[Array | int]) -> list[rows.Row]:
        asked.append(statement)
        return await LoopConnection.execute(looks._connection, statement, values)

    monkeypatch.setattr(looks._connection, "execute", execute)
    return asked


async def test_whoever_closes_it_ends_the_look_that_is_under_way_and_those_that_wait(
    looks: PostgresByKey, asked: list[str], other: Other, postgres_url: str
) -> None:
    with nobody_reads(postgres_url):
        under_way = [asyncio.create_task(looks.read([1]), name="look") for _ in range(2)]
        await until(lambda: one_waits(other))
        await looks.close()
        for each in under_way:
            with pytest.raises(Unavailable):
                await each
    assert len(asked) == 1


async def test_what_takes_the_server_too_long_is_not_asked_again(
    looks: PostgresByKey, asked: list[str], postgres_url: str
) -> None:
    await looks._connection.execute("SET statement_timeout = 50", [])
    with nobody_reads(postgres_url), pytest.raises(Unavailable, match="statement timeout"):
        await looks.read([1])
    assert len(asked) == 2
    assert await looks.read([1]) == []


async def test_a_connection_that_died_unnoticed_is_replaced(looks: PostgresByKey, other: Other) -> None:
    other.execute(f"SELECT pg_terminate_backend(pid, 10000) {OF_LOOKS}")  # the loop has heard of nothing yet
    assert await looks.read([1]) == []
