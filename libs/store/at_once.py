"""What is done with a SQLite file on the event loop's own thread, because the way to another one takes as long.

To hand something to a thread and to hear of it costs an event loop 100 to 200 µs when nothing else is going on: it
falls asleep, the thread wakes up, and the other way round. A look at a row by its key takes 20 to 50 µs, and a small
commit 250, of which the disk has half. So where nobody else wants the loop, these are done on the spot, over a
connection of their own that never waits for anybody: readers of a write-ahead log do not wait for writers, and a writer
that finds another one at work goes the long way instead, as everybody does who gets no answer here.

What bounds how long the loop stands still: a few rows; no checkpoint, which copies thousands of pages (it is left to
the threads' own connections, which get every `IN_A_ROW`th commit for that); and after a commit that was slow all are
made on threads for several times as long as it took, so that slow ones never have more than a sixth of the loop's time,
and for longer each time unless they are seldom: any disk is slow now and then, one in a hundred times where others use
it too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from libs.store import rows, sqlite

FEW: Final = 4
"""Rows that may be read so."""

SMALL: Final = 16
"""Rows that may be written so."""

IN_A_ROW: Final = 64
"""After so many commits the next one goes another way. Each leaves some twenty pages in the log."""

SLOW_SECONDS: Final = 0.002
"""A commit that took longer shows that the disk is slow …"""

REST: Final = 5
"""… and then all go another way for so many times that long …"""

SELDOM: Final = 8
"""… or twice as long as the last time, unless there were so many quick ones in between …"""

LONG_SECONDS: Final = 1.0
"""… which by itself makes it no longer than this."""


class NotNow(Enum):
    """The answer of what could not be done at once, and was not done."""

    NOT_NOW = "not now"


class AtOnce:
    """One connection. `open` may be called on any thread, everything else on that of the loop."""

    def __init__(self, path: Path, statements: int = 128) -> None:
        """It keeps so many statements prepared."""
        self._path = path
        self._statements = statements
        self._connection: sqlite3.Connection | None = None
        self._wanted = False
        """Whether anybody has asked for something."""
        self._commits = 0
        self._rest = Rest()

    def open(self) -> None:
        """Connects, if somebody has asked in vain, which takes milliseconds. Raises what the driver does."""
        if self._wanted and self._connection is None:
            connection = sqlite.connect(self._path, statements=self._statements)
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            self._connection = connection

    def rows(self, statement: str, parameters: Any) -> list[rows.Row] | None:
        """What the statement finds; None when that cannot be had at once."""
        connection = self._at_hand()
        if connection is None:
            return None
        try:
            return connection.execute(statement, parameters).fetchall()
        except sqlite3.Error:
            self.close()  # the long way tells what is the matter, and opens this one again
            return None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection | None]:
        """A writing transaction for the length of the block, which is durable after it; None when one cannot begin at
        once. Raises what the driver does; then nobody knows what has become of it."""
        began = perf_counter()
        connection = self._begun(began)
        if connection is None:
            yield None
            return
        try:
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error:
            self.close()
            raise
        finally:
            if self._connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
            self._rest.took(began, perf_counter())

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _at_hand(self) -> sqlite3.Connection | None:
        self._wanted = True
        return self._connection

    def _begun(self, now: float) -> sqlite3.Connection | None:
        connection = self._at_hand()
        if connection is None or now < self._rest.until:
            return None
        self._commits += 1
        if self._commits > IN_A_ROW:
            self._commits = 0
            return None
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if not sqlite.is_busy(error):
                self.close()
            return None
        return connection


class Rest:
    """How long the disk is left to threads."""

    def __init__(self) -> None:
        self.until = 0.0
        self._seconds = 0.0
        self._quick = SELDOM
        """Commits that were quick since the last slow one."""

    def took(self, began: float, ended: float) -> None:
        """A commit took so long."""
        if ended - began <= SLOW_SECONDS:
            self._quick += 1
            return
        longer = 0.0 if self._quick >= SELDOM else min(2 * self._seconds, LONG_SECONDS)
        self._seconds = max(REST * (ended - began), longer)
        self._quick = 0
        self.until = ended + self._seconds
