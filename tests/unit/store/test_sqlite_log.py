"""The write-ahead log has its size from the start, and nothing else has changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.store import sqlite, sqlite_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite.connect(path)
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    connection.execute("INSERT INTO t VALUES (1, 'b')")
    yield connection
    connection.close()


def size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


def test_the_log_is_stretched_and_what_is_stored_stays(path: Path, connection: sqlite3.Connection) -> None:
    assert size(path) < sqlite_log.LOG_BYTES
    sqlite_log.stretch(path)
    stretched = size(path)
    assert stretched >= sqlite_log.LOG_BYTES
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(key, "c" * 3000) for key in range(2, 500)])
    sqlite_log.stretch(path)
    assert size(path) == stretched  # it is written over
    assert connection.execute("SELECT count(*) FROM t").fetchall() == [(499,)]
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_was_written_after_it_is_found_again_after_a_crash(path: Path, connection: sqlite3.Connection) -> None:
    sqlite_log.stretch(path)
    connection.execute("INSERT INTO t VALUES (2, 'c')")
    crashed = path.with_name("crashed.db")
    for suffix in ("", "-wal"):  # as the disk has them; what is in memory is lost
        Path(f"{crashed}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    again = sqlite.connect(crashed)
    assert again.execute("SELECT a, b FROM t ORDER BY a").fetchall() == [(1, "b"), (2, "c")]
    assert again.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    again.close()


def test_whoever_writes_is_left_alone(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    before = size(path)
    sqlite_log.stretch(path)
    assert size(path) == before
    connection.execute("COMMIT")


def test_a_database_that_is_not_there_is_nobody_s_fault(tmp_path: Path) -> None:
    sqlite_log.stretch(tmp_path / "nowhere.db")
    assert list(tmp_path.iterdir()) == []
