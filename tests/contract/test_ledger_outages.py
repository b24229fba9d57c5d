"""What the ledger does while the database is away, locked or silent, and that it works again after."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from libs.store import ledger_postgres, postgres_loop
from libs.store.ledger import Ledger
from libs.workflow.errors import FailedPrecondition, Fenced, Unavailable
from libs.workflow.state import Changes
from tests.support import stored
from tests.support.postgres import PostgresServer, paused

_SLOW_NODES = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2.5); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON nodes FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
OF_THE_LEDGER = "datname = current_database() AND application_name = 'airscrew-ledger'"
SOON_SECONDS = 20.0  # a second or two by design; here it is only seen that it ends


@contextmanager
def unavailable_soon() -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        yield
    assert time.monotonic() - began < SOON_SECONDS


def claimed(url: str) -> tuple[Ledger, int]:
    ledger = Ledger(url)
    return ledger, ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)


def backends_of_the_ledger(connection: psycopg.Connection[tuple[object, ...]]) -> set[int]:
    """The processes of the server that serve the ledger."""
    found = connection.execute(f"SELECT pid FROM pg_stat_activity WHERE {OF_THE_LEDGER}").fetchall()
    return {int(str(pid)) for (pid,) in found}


def test_a_locked_sqlite_file_is_unavailable_and_serves_again_after(sqlite_url: str) -> None:
    ledger, epoch = claimed(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with unavailable_soon():
        ledger.commit(0, epoch, [])
    assert ledger.live(0, 0, 1) == []  # readers do not wait for writers
    other.execute("ROLLBACK")
    ledger.commit(0, epoch, [])
    other.close()
    ledger.close()


def test_a_missing_sqlite_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="No such file"):
        Ledger(f"sqlite:///{tmp_path}/nowhere/airscrew.db").live(0, 0, 1)


def test_an_empty_database_is_refused_with_the_way_out(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(FailedPrecondition, match="airscrew migrate"):
        ledger.check_schema()
    ledger.close()


def test_a_stopped_postgres_is_unavailable_and_serves_again_after(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    ledger, epoch = claimed(postgres_url)
    postgres_server.stop()
    try:
        for _ in range(2):
            with unavailable_soon():
                ledger.commit(0, epoch, [])
        with unavailable_soon():
            ledger.due(0, 1, 1)
    finally:
        postgres_server.start()
    ledger.commit(0, epoch, [])
    ledger.close()


def test_a_silent_postgres_is_unavailable_and_serves_again_after(postgres_url: str) -> None:
    ledger, epoch = claimed(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        (backend,) = backends_of_the_ledger(other)
        with paused(backend), unavailable_soon():
            ledger.commit(0, epoch, [])
    ledger.commit(0, epoch, [])
    ledger.close()


def test_a_commit_that_a_silent_postgres_still_has_can_not_happen_after_a_renewal(postgres_url: str) -> None:
    ledger, epoch = claimed(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        (backend,) = backends_of_the_ledger(other)
        with paused(backend):
            with unavailable_soon():
                ledger.commit(0, epoch, [Changes(stored.execution(), nodes={"n0": stored.node()})])
            assert ledger.renew(0) == epoch + 1
        # It wakes up with the commit in its hands, and does it.
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchone():
            time.sleep(0.02)
        assert other.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
    ledger.close()


def test_what_takes_longer_than_a_second_is_given_longer_each_time_it_is_tried(postgres_url: str) -> None:
    """Or else a commit that is too large for a second would be tried as it is for ever."""
    ledger, epoch = claimed(postgres_url)
    batch = [Changes(stored.execution(), nodes={"n0": stored.node()})]
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(_SLOW_NODES)
        try:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    ledger.commit(0, epoch, batch)
                assert other.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
            ledger.commit(0, epoch, batch)
            assert other.execute("SELECT count(*) FROM nodes").fetchone() == (1,)
        finally:
            other.execute("DROP FUNCTION slow CASCADE")
    ledger.close()


def test_a_read_that_takes_longer_than_a_second_is_given_longer_the_next_time(postgres_url: str) -> None:
    ledger, _ = claimed(postgres_url)
    with unavailable_soon():
        ledger._read("SELECT pg_sleep(1.5)", {})
    assert ledger._read("SELECT 1 FROM pg_sleep(1.5)", {}) == [(1,)]
    ledger._database.drop()  # and once that was done, as long as others
    with unavailable_soon():
        ledger._read("SELECT pg_sleep(1.5)", {})
    ledger.close()


def test_a_lock_that_somebody_holds_is_given_up_after_a_second(postgres_url: str) -> None:
    ledger, epoch = claimed(postgres_url)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM leadership FOR UPDATE")
        with unavailable_soon():
            ledger.commit(0, epoch, [])
    ledger.commit(0, epoch, [])
    ledger.close()


def test_a_transaction_that_its_process_forgot_is_ended_by_the_server(postgres_url: str) -> None:
    # The database does not wait for a leader that was stopped in the middle of a claim or a quarantine.
    ledger, epoch = claimed(postgres_url)
    with ledger._database.transaction() as execute:  # as claim and quarantine do
        execute("SELECT epoch FROM leadership FOR UPDATE", {})
        began = time.monotonic()
        successor = Ledger(postgres_url)
        while True:
            try:
                assert successor.claim(0, "etcd-1", 11, "b", "b:1", 78) == epoch + 1
                break
            except Unavailable:
                assert time.monotonic() - began < 2 * SOON_SECONDS
        with pytest.raises(psycopg.Error):
            execute("SELECT 1", {})
    successor.close()
    ledger.close()


def test_a_commit_that_waits_for_a_claim_is_fenced_by_it(postgres_url: str) -> None:
    ledger, epoch = claimed(postgres_url)
    outcome: list[BaseException] = []

    def commit() -> None:
        try:
            ledger.commit(0, epoch, [])
        except Fenced as error:
            outcome.append(error)

    with psycopg.connect(postgres_url) as claiming:
        claiming.execute("UPDATE leadership SET epoch = epoch + 1")
        waiting = threading.Thread(target=commit)
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive()
    waiting.join()
    assert len(outcome) == 1
    ledger.close()


async def test_on_the_loop_a_stopped_postgres_is_unavailable_and_the_thread_is_to_be_asked_first(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    ledger, epoch = claimed(postgres_url)
    assert await ledger.commit_on_loop(0, epoch, [])
    postgres_server.stop()
    try:
        with unavailable_soon():
            await ledger.commit_on_loop(0, epoch, [])
        # What failed is tried again by way of the thread, which has more patience each time.
        assert not await ledger.commit_on_loop(0, epoch, [])
        assert await ledger.load_on_loop(0, [1]) is None
        with unavailable_soon():
            ledger.commit(0, epoch, [])
        assert not await ledger.commit_on_loop(0, epoch, [])
    finally:
        postgres_server.start()
    ledger.commit(0, epoch, [])
    assert await ledger.commit_on_loop(0, epoch, [])
    ledger.leave_loop()
    ledger.close()


async def test_what_took_a_loop_too_long_has_twice_the_time_on_the_thread(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_postgres, "WORK_SECONDS", 0.6)
    ledger, epoch = claimed(postgres_url)
    batch = [Changes(stored.execution(), nodes={"n0": stored.node()})]
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(_SLOW_NODES.replace("2.5", "0.8"))
        try:
            with unavailable_soon():
                await ledger.commit_on_loop(0, epoch, batch)
            epoch = ledger.renew(0)
            assert not await ledger.commit_on_loop(0, epoch, batch)
            ledger.commit(0, epoch, batch)
        finally:
            other.execute("DROP FUNCTION slow CASCADE")
    ledger.leave_loop()
    ledger.close()


async def test_a_lock_that_a_loop_waited_for_gives_the_thread_no_more_time(postgres_url: str) -> None:
    ledger, epoch = claimed(postgres_url)
    connection = ledger._database._connection  # type: ignore[attr-defined]
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM leadership FOR UPDATE")
        with unavailable_soon():
            await ledger.commit_on_loop(0, epoch, [])
    ledger.commit(0, epoch, [])
    assert ledger._database._connection is connection  # type: ignore[attr-defined]
    ledger.leave_loop()
    ledger.close()


async def test_on_the_loop_a_connection_that_the_server_has_ended_meanwhile_is_not_used(postgres_url: str) -> None:
    ledger, epoch = claimed(postgres_url)
    assert await ledger.commit_on_loop(0, epoch, [])
    connection = ledger._database._commits_on_loop  # type: ignore[attr-defined]
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OF_THE_LEDGER}")
    async with asyncio.timeout(SOON_SECONDS):
        while connection.connected:
            await asyncio.sleep(0.01)
    assert await ledger.commit_on_loop(0, epoch, [])
    ledger.leave_loop()
    ledger.close()


async def test_on_the_loop_a_commit_that_a_silent_postgres_still_has_can_not_happen_after_a_renewal(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_loop, "ANSWER_SECONDS", 0.2)
    ledger, epoch = claimed(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        (of_the_thread,) = backends_of_the_ledger(other)
        assert await ledger.commit_on_loop(0, epoch, [])
        (backend,) = backends_of_the_ledger(other) - {of_the_thread}
        with paused(backend):
            with unavailable_soon():
                await ledger.commit_on_loop(0, epoch, [Changes(stored.execution(), nodes={"n0": stored.node()})])
            assert ledger.renew(0) == epoch + 1
        # It wakes up with the commit in its hands, and does it.
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchone():
            time.sleep(0.02)
        assert other.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
    ledger.close()


async def test_on_the_loop_a_commit_whose_caller_is_cancelled_leaves_no_answer_for_the_next_one(
    postgres_url: str,
) -> None:
    ledger, epoch = claimed(postgres_url)
    assert await ledger.commit_on_loop(0, epoch, [])
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM leadership FOR UPDATE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ledger.commit_on_loop(0, epoch, [])
    with pytest.raises(Fenced):
        await ledger.commit_on_loop(0, epoch + 1, [])
    assert await ledger.commit_on_loop(0, epoch, [])
    ledger.leave_loop()
    ledger.close()
