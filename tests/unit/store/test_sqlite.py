"""What happens around the locks of a file that several open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from libs.store import sqlite


def test_who_opens_a_new_file_waits_for_another_that_writes_its_first_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait here: to turn the file to a log it reads first, and who has read may not wait."""
    path = tmp_path / "new.db"
    first = sqlite3.connect(path, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    first.execute("CREATE TABLE seen (number INTEGER)")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        first.execute("COMMIT")

    monkeypatch.setattr("libs.store.sqlite.time.sleep", pause)
    second = sqlite.connect(path)
    assert len(pauses) == 1
    assert second.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert second.execute("SELECT count(*) FROM seen").fetchone() == (0,)
    second.close()
    first.close()


def test_who_waits_for_longer_than_allowed_is_told_that_the_file_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    first = sqlite3.connect(path, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    second = sqlite3.connect(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite.set_up(second, busy_seconds=0.05)
    second.close()
    first.close()


@pytest.mark.parametrize(
    ("code", "busy"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_RECOVERY, True),
        (sqlite3.SQLITE_LOCKED, False),
        (sqlite3.SQLITE_IOERR, False),
    ],
)
def test_a_lock_is_waited_for_whoever_has_it(code: int, busy: bool) -> None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    assert sqlite.is_busy(error) is busy
