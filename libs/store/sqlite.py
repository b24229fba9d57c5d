"""How a connection to SQLite is set up, the same for both doors.

WAL with synchronous=FULL: a commit is on the disk when it returns. A writer says BEGIN IMMEDIATE, because a reading
transaction that turns into a writing one fails at once, without waiting, when somebody else has written in between.
Transactions are started by us (`isolation_level=None`); the driver's own guessing would start them late and plain.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libs.store.address import require_local_disk

BUSY_SECONDS = 1.0
"""How long anybody waits for the file's locks before it reports Unavailable."""

_LOOK_SECONDS = 0.015
"""The longest sleep between two looks at the lock, see `begin_immediate`."""

_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA case_sensitive_like=ON",  # as PostgreSQL has it
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-65536",  # 64 MiB
    # Pages: what many commits change is copied into the database once for all of them. After a crash these 16 MiB of
    # the log are read again.
    "PRAGMA wal_autocheckpoint=4000",
)


def connect(path: Path, *, statements: int = 128) -> sqlite3.Connection:
    """A connection for one thread, which keeps so many statements prepared. Creates the file, not its directory."""
    require_local_disk(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, cached_statements=statements)
    try:
        set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def set_up(connection: Any, busy_seconds: float = BUSY_SECONDS) -> None:
    """Makes a fresh connection, of the driver's or of SQLAlchemy's adapter, ready for use."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(_busy_timeout(busy_seconds))
    _insist(cursor, "PRAGMA journal_mode=WAL", busy_seconds, pause=_LOOK_SECONDS)
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def begin_immediate(connection: Any, busy_seconds: float = BUSY_SECONDS) -> None:
    """Starts a writing transaction.

    SQLite has no queue for its lock: who waits sleeps and looks again, the longer the longer, up to 100 ms. Beside a
    writer that commits back to back, as a busy leader or a bulk of submissions does, that loses for a second on end. So
    the sleeps are kept short here.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(_busy_timeout(_LOOK_SECONDS))
        _insist(cursor, "BEGIN IMMEDIATE", busy_seconds)
    finally:
        cursor.execute(_busy_timeout(busy_seconds))
        cursor.close()


class Writer:
    """A connection for one writing transaction after the other. Its sleeps are short once and for all: they need not be
    set for each, which takes as long as to begin, and half of it while the lock is held already. (It may read too: who
    reads waits for nobody who writes.)"""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.execute(_busy_timeout(_LOOK_SECONDS))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """See `begin_immediate`. It is durable after the block, unless that raises."""
        _insist(self.connection, "BEGIN IMMEDIATE", BUSY_SECONDS)
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")


def _insist(connection: Any, statement: str, busy_seconds: float, *, pause: float = 0.0) -> None:
    """Executes what takes a lock of the file, again until it has it.

    The busy timeout alone does not do it. Of several who open a new file at once SQLite tells those whose waiting could
    block another, while the file turns to a log (WAL), that it is busy, without any wait: hence `pause`, in seconds.
    """
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else has the lock, be it to recover the log after a crash: that has a code derived from BUSY."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _busy_timeout(seconds: float) -> str:
    return f"PRAGMA busy_timeout={int(seconds * 1000)}"


# For every value that is neither a number nor a text the driver looks for an adapter, and not to find one takes it as
# long as ten numbers. These give the value back.
_NOTHING: dict[None, None] = {}
sqlite3.register_adapter(type(None), _NOTHING.get)
sqlite3.register_adapter(bytes, bytes)
