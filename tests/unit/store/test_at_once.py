"""What is done on the event loop's own thread never waits for anybody, and stops when the disk is slow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.store import at_once, sqlite
from libs.store.at_once import AtOnce, Rest


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


def write(ready: AtOnce, value: int | None = None) -> bool:
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


SLOW = 2 * at_once.SLOW_SECONDS


def write_slowly(ready: AtOnce, watch: Watch, seconds: float = SLOW) -> float:
    """Seconds for which nothing is written at once after it."""
    with ready.writing() as connection:
        assert connection is not None
        connection.execute("INSERT INTO t (b) VALUES ('b')")
        watch.now += seconds
    began, step = watch.now, seconds / 4
    with ready.writing() as connection:
        assert connection is None
    while connection is None:
        watch.now += step
        with ready.writing() as connection:
            pass
    return watch.now - began


def test_a_slow_disk_has_its_rest_longer_each_time(ready: AtOnce, watch: Watch) -> None:
    first = at_once.REST * SLOW
    rests = [write_slowly(ready, watch) for _ in range(12)]
    assert rests[:4] == pytest.approx([first, 2 * first, 4 * first, 8 * first])
    assert rests[-1] == pytest.approx(at_once.LONG_SECONDS)
    assert ready.rows("SELECT count(*) FROM t", ()) == [(12,)]


def test_a_disk_that_is_seldom_slow_rests_for_a_moment(ready: AtOnce, watch: Watch) -> None:
    for _ in range(4):
        assert write_slowly(ready, watch) == pytest.approx(at_once.REST * SLOW)
        assert all(write(ready) for _ in range(at_once.SELDOM))


@pytest.mark.parametrize("slow", [SLOW, 0.02, 0.2, 3.0])
@pytest.mark.parametrize("quick", [0, 1, at_once.SELDOM - 1, at_once.SELDOM, 10 * at_once.SELDOM])
def test_the_loop_stands_still_for_less_than_a_fifth_of_the_time_however_slow_commits_are(
    slow: float, quick: int
) -> None:
    """Also where none of the time is anybody else's: a commit follows as soon as it may."""
    rest, now = Rest(), 100.0
    for seconds in ([slow] + [0.0] * quick) * 6:
        now = max(now, rest.until)
        rest.took(now, now + seconds)
        now += seconds
    assert 6 * slow < (max(now, rest.until) - 100.0) / 5
