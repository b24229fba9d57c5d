"""The event loop's own connection to a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from libs.store import postgres_loop
from libs.store.postgres_arrays import Array, ByteaArray, Int8Array, TextArray
from libs.store.postgres_loop import LoopConnection
from libs.workflow.errors import Refused
from tests.support.postgres import PostgresServer

TWICE = "SELECT 2 * $1"
OWN_NAMES = "SELECT name FROM pg_prepared_statements WHERE name <> '' AND $1 IS NOT NULL"


@pytest_asyncio.fixture
async def connection(postgres_url: str) -> AsyncIterator[LoopConnection]:
    connection = LoopConnection(postgres_url, "")
    yield connection
    connection.drop()


async def backend(connection: LoopConnection) -> int:
    ((pid,),) = await connection.execute("SELECT pg_backend_pid()", [])
    assert isinstance(pid, int)
    return pid


async def test_values_come_back_as_they_were_sent(connection: LoopConnection) -> None:
    values = [Int8Array((1, None, -(2**63))), TextArray(("é", "", None)), ByteaArray((b"\0", None, b""))]
    statement = "SELECT * FROM unnest($1, $2, $3)"
    for _ in range(2):  # the second time it is prepared
        assert await connection.execute(statement, values) == [(1, "é", b"\0"), (None, "", None), (-(2**63), None, b"")]
    assert await connection.execute("SELECT 1 WHERE $1 < 0", [1]) == []


async def test_what_is_larger_than_any_buffer_is_sent_and_received_whole(connection: LoopConnection) -> None:
    large = b"x" * 20_000_000
    ((found,),) = await connection.execute("SELECT * FROM unnest($1)", [ByteaArray((large,))])
    assert found == large


async def test_by_tls_answers_of_every_size_are_received_whole(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """Also where their end has come with what was read before: no socket tells of that."""
    with postgres_server.speaking_tls(postgres_url.rpartition("/")[2]) as url:
        connection = LoopConnection(url, "")
        assert await connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", []) == [(True,)]
        for limit in (8192, 16384, 32768, 1_000_000):  # of the server's buffers, and of a record
            for size in range(limit - 110, limit + 50, 7):
                for count in (1, 3):
                    value = b"x" * (size // count)
                    found = await connection.execute("SELECT * FROM unnest($1)", [ByteaArray((value,) * count)])
                    assert found == [(value,)] * count
        connection.drop()


async def test_more_statements_than_are_kept_prepared_are_answered_all_the_same(
    connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_loop, "MOST_PREPARED", 2)
    for _ in range(2):
        assert [await connection.execute(f"SELECT {n} + $1", [1]) for n in range(4)] == [[(n + 1,)] for n in range(4)]
    assert await connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''", []) == [(2,)]


async def test_after_a_value_that_is_refused_the_connection_goes_on(connection: LoopConnection) -> None:
    before = await backend(connection)
    with pytest.raises(psycopg.DataError):
        await connection.execute("SELECT * FROM unnest($1)", [TextArray(("\0",))])
    assert await backend(connection) == before


@pytest.mark.parametrize("value", [2**70, Int8Array((2**70,)), TextArray(("\ud800",))])
async def test_a_value_that_can_not_even_be_sent_is_refused_and_the_connection_goes_on(
    connection: LoopConnection, value: Array | int
) -> None:
    before = await backend(connection)
    with pytest.raises(Refused):
        await connection.execute("SELECT $1", [value])
    assert await backend(connection) == before


async def test_a_statement_is_prepared_under_a_name_that_no_other_one_has(postgres_url: str) -> None:
    """Nor has the same text with values of other types: behind a pooler another connection may have prepared it."""
    found: list[set[str]] = []
    for value in (1, 1, Int8Array((1,))):
        connection = LoopConnection(postgres_url, "")
        await connection.execute(OWN_NAMES, [value])
        found.append({name for (name,) in await connection.execute(OWN_NAMES, [value])})
        connection.drop()
    first, again, other_types = found
    assert len(first) == 1
    assert first == again
    assert first.isdisjoint(other_types)


async def test_a_statement_that_the_server_has_by_its_name_already_is_used(connection: LoopConnection) -> None:
    """As behind a pooler, where another connection prepared it."""
    assert await connection.execute(TWICE, [2]) == [(4,)]
    assert connection._session is not None
    connection._session._prepared.clear()
    before = await backend(connection)
    assert await connection.execute(TWICE, [3]) == [(6,)]
    assert await backend(connection) == before


async def test_after_any_other_error_there_is_another_connection(connection: LoopConnection) -> None:
    before = await backend(connection)
    with pytest.raises(psycopg.errors.UndefinedTable):
        await connection.execute("SELECT * FROM nowhere", [])
    assert not connection.connected
    assert await backend(connection) != before


async def test_a_commit_that_fails_after_its_statement_was_answered_is_an_error(
    connection: LoopConnection, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("CREATE TABLE late (id BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        try:
            assert await connection.execute("INSERT INTO late VALUES ($1) RETURNING 1", [7]) == [(1,)]
            with pytest.raises(psycopg.errors.UniqueViolation):
                await connection.execute("INSERT INTO late VALUES ($1) RETURNING 1", [7])
            assert await connection.execute("SELECT count(*) FROM late", []) == [(1,)]
        finally:
            other.execute("DROP TABLE late")


async def test_who_gets_no_answer_in_time_is_told_so(
    connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_loop, "ANSWER_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        await connection.execute("SELECT 1 FROM pg_sleep(20)", [])
    assert not connection.connected
    monkeypatch.undo()
    assert await connection.execute(TWICE, [2]) == [(4,)]


async def test_an_answer_that_keeps_coming_may_take_its_time(
    connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await connection.execute(TWICE, [1]) == [(2,)]
    monkeypatch.setattr(postgres_loop, "ANSWER_SECONDS", 0.5)
    # What fills the server's buffer is sent: each row is three times as much.
    slowly = "SELECT repeat('x', 25000), pg_sleep(0.2)::text FROM generate_series(1, 5)"
    assert await connection.execute(slowly, []) == [("x" * 25000, "")] * 5


async def test_an_answer_that_has_come_while_the_loop_stood_still_is_taken(
    connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await connection.execute(TWICE, [1]) == [(2,)]
    monkeypatch.setattr(postgres_loop, "ANSWER_SECONDS", 0.1)
    asyncio.get_running_loop().call_later(0.01, time.sleep, 0.3)
    assert await connection.execute("SELECT 7 FROM pg_sleep(0.05)", []) == [(7,)]


async def test_the_answer_to_one_who_has_gone_is_nobody_elses(connection: LoopConnection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.execute("SELECT 7 FROM pg_sleep(20)", [])
    assert await connection.execute(TWICE, [2]) == [(4,)]


async def test_that_the_server_had_ended_the_connection_is_heard_when_it_is_asked_at_the_latest(
    connection: LoopConnection, postgres_url: str
) -> None:
    pid = await backend(connection)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    with pytest.raises(psycopg.OperationalError):  # and not that nobody answers, two seconds later
        await backend(connection)
    assert await backend(connection) != pid


async def test_one_who_is_dropped_while_he_waits_is_told_so(connection: LoopConnection) -> None:
    await connection.execute(TWICE, [2])
    waiting = asyncio.create_task(connection.execute("SELECT 1 FROM pg_sleep(20)", []), name="waiting")
    await asyncio.sleep(0)
    connection.drop()
    with pytest.raises(psycopg.OperationalError):
        await waiting


async def test_one_who_is_dropped_while_he_connects_is_told_so(connection: LoopConnection) -> None:
    waiting = asyncio.create_task(connection.execute(TWICE, [2]), name="waiting")
    await asyncio.sleep(0)
    connection.drop()
    with pytest.raises(psycopg.OperationalError):
        await waiting
    assert not connection.connected
    assert await connection.execute(TWICE, [2]) == [(4,)]


async def test_an_address_where_nobody_is_is_an_error_and_is_tried_again(postgres_url: str) -> None:
    nowhere = LoopConnection(postgres_url.rpartition("/")[0] + "/nowhere", "")
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            await nowhere.execute(TWICE, [2])
        assert not nowhere.busy
