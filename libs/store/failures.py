"""What a driver's error means for the caller: the one place that reads them.

Three questions are asked of any error. Is the database away, locked, full or too slow? Then `Unavailable`: the same
request may succeed later, and the outcome of a write is unknown. Does it refuse these very values? Then `Refused`:
retrying is pointless. Are the tables missing or others than ours? Then `FailedPrecondition`, and the operator has to
migrate. What is left is a bug of ours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy.exc

from libs.workflow.errors import AirscrewError, FailedPrecondition, Internal, KeyTaken, Refused, Unavailable

_MIGRATE = "the database has no such table or column: run `airscrew migrate`"

# Classes of SQLSTATE that blame the values: data exception, integrity violation, a limit of the program (such as an
# index entry that is too long), and whatever an operator's own trigger raises.
_VALUE_CLASSES = ("22", "23", "54", "P0")
_UNIQUE_VIOLATION = "23505"
_PRIMARY_KEY = "_pkey"  # as PostgreSQL names the constraint of a primary key that has no name of its own
_UNDEFINED = ("42P01", "42703", "3F000")
_RETRYABLE_PROGRAMMING = ("26000",)  # a pooler between us and the server forgot a prepared statement

_SQLITE_VALUE_CODES = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH})


def translate(error: BaseException) -> AirscrewError:
    """The error of ours that says what `error`, raised by a driver or by SQLAlchemy, means for the caller."""
    error = _innermost(error)
    if isinstance(error, AirscrewError):
        return error
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    if isinstance(error, UnicodeError | OverflowError):  # a driver that could not even encode the value
        return Refused(f"the database cannot store a value: {error}")
    if isinstance(error, OSError | TimeoutError):
        return Unavailable(f"the database does not answer: {_first_line(error)}")
    return _of_postgres(error)


@contextmanager
def translated() -> Iterator[None]:
    """Around calls of a driver: lets only errors of ours out."""
    try:
        yield
    except AirscrewError:
        raise
    except Exception as error:
        raise translate(error) from error


def _innermost(error: BaseException) -> BaseException:
    """SQLAlchemy wraps the driver's error in its own and keeps it as `orig`."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def _of_sqlite(error: sqlite3.Error) -> AirscrewError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    message = _first_line(error)
    if code in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID):
        return KeyTaken(f"a key is taken: {message}")
    if primary in _SQLITE_VALUE_CODES or isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return Refused(f"the database refuses a value: {message}")
    if primary == sqlite3.SQLITE_ERROR and message.startswith(("no such table", "no such column", "table ")):
        return FailedPrecondition(_MIGRATE)
    if primary == sqlite3.SQLITE_ERROR or isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return Internal(f"wrong use of the database: {message}")
    return Unavailable(f"the database cannot serve this now: {message}")


def _of_postgres(error: BaseException) -> AirscrewError:
    message = _first_line(error)
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return Unavailable("the database does not answer: no connection became free in time")
    import psycopg  # it is imported already if this is an error of its own

    if not isinstance(error, psycopg.Error):
        return Internal(f"{type(error).__name__}: {message}")
    state = error.sqlstate or ""
    if state == _UNIQUE_VIOLATION and (error.diag.constraint_name or "").endswith(_PRIMARY_KEY):
        return KeyTaken(f"a key is taken: {message}")
    if state.startswith(_VALUE_CLASSES) or (not state and isinstance(error, psycopg.DataError)):
        return Refused(f"the database refuses a value: {message}")
    if state in _UNDEFINED:
        return FailedPrecondition(_MIGRATE)
    if isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError) and state not in _RETRYABLE_PROGRAMMING:
        return Internal(f"wrong use of the database: {message}")
    return Unavailable(f"the database cannot serve this now: {message}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
