"""What is done on the event loop's own thread never waits for anybody, and stops when the disk is slow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.store import at_once, sqlite
from libs.store.at_once import AtOnce


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.db"
    connection = sqlite.connect(path)
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    connection.close()
    return path


class Watch:
    """A stopwatch that stands still, so that no disk is slow."""

    now = 100.0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(at_once, "perf_counter", lambda: watch.now)
    return watch


@pytest.fixture
def ready(path: Path, watch: Watch) -> Iterator[AtOnce]:
    """Somebody has asked, and on the long way it was opened."""
    ready = AtOnce(path)
    assert ready.rows("SELECT 1", ()) is None
    ready.open()
    yield ready
    ready.close()


def write(ready: AtOnce, value: int) -> bool:
    with ready.writing() as connection:
        if connection is None:
            return False
        connection.execute("INSERT INTO t VALUES (?, 'b')", (value,))
    return True


def stored(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]
    connection.close()
    return found


def test_it_is_not_opened_before_somebody_has_asked(path: Path) -> None:
    idle = AtOnce(path)
    idle.open()
    assert idle.rows("SELECT 1", ()) is None
    idle.open()
    assert idle.rows("SELECT 1", ()) == [(1,)]
    idle.close()
    assert idle.rows("SELECT 1", ()) is None


def test_what_is_written_is_there_for_everybody(ready: AtOnce, path: Path) -> None:
    assert write(ready, 1)
    assert stored(path) == [1]
    assert ready.rows("SELECT b FROM t WHERE a = ?", (1,)) == [("b",)]


def test_a_block_that_fails_has_written_nothing_and_the_next_one_works(ready: AtOnce, path: Path) -> None:
    with pytest.raises(RuntimeError), ready.writing() as connection:
        assert connection is not None
        connection.execute("INSERT INTO t VALUES (1, 'b')")
        raise RuntimeError
    assert write(ready, 2)
    assert stored(path) == [2]


def test_what_the_database_refuses_is_raised_and_goes_the_long_way_after(ready: AtOnce, path: Path) -> None:
    assert write(ready, 1)
    with pytest.raises(sqlite3.IntegrityError):
        write(ready, 1)
    assert not write(ready, 2)  # until it is opened again
    ready.open()
    assert write(ready, 2)
    assert stored(path) == [1, 2]


def test_nobody_is_waited_for(ready: AtOnce, path: Path) -> None:
    other = sqlite.connect(path)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES (1, 'b')")
    assert not write(ready, 2)
    assert ready.rows("SELECT a FROM t", ()) == []  # a reader sees what is committed
    other.execute("COMMIT")
    other.close()
    assert write(ready, 2)
    assert stored(path) == [1, 2]


def test_a_look_that_fails_has_no_answer(ready: AtOnce) -> None:
    assert ready.rows("SELECT a FROM nowhere", ()) is None
    ready.open()
    assert ready.rows("SELECT a FROM t", ()) == []


def test_now_and_then_a_commit_goes_the_long_way_because_only_there_the_log_is_copied_back(
    ready: AtOnce, path: Path
) -> None:
    written = [write(ready, value) for value in range(2 * at_once.IN_A_ROW + 2)]
    assert written == ([True] * at_once.IN_A_ROW + [False]) * 2
    assert ready.rows("PRAGMA wal_autocheckpoint", ()) == [(0,)]


def test_a_slow_disk_has_its_rest(ready: AtOnce, watch: Watch) -> None:
    with ready.writing() as connection:
        assert connection is not None
        connection.execute("INSERT INTO t VALUES (1, 'b')")
        watch.now += 2 * at_once.SLOW_SECONDS
    assert not write(ready, 2)
    assert ready.rows("SELECT a FROM t", ()) == [(1,)]
    watch.now += at_once.REST_SECONDS
    assert write(ready, 2)
