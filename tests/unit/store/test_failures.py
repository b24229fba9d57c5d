"""What drivers' errors mean for the caller."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
import sqlalchemy.exc
from psycopg import errors as postgres

from libs.store.failures import translate, translated
from libs.workflow.errors import AirscrewError, FailedPrecondition, Fenced, Internal, Refused, Unavailable


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (psycopg.OperationalError("connection refused"), Unavailable),
        (postgres.LockNotAvailable(), Unavailable),
        (postgres.QueryCanceled(), Unavailable),
        (postgres.AdminShutdown(), Unavailable),
        (postgres.DeadlockDetected(), Unavailable),
        (postgres.DiskFull(), Unavailable),
        (postgres.ReadOnlySqlTransaction(), Unavailable),
        (postgres.IdleInTransactionSessionTimeout(), Unavailable),
        (postgres.CharacterNotInRepertoire(), Refused),
        (postgres.NumericValueOutOfRange(), Refused),
        (postgres.NotNullViolation(), Refused),
        (postgres.ProgramLimitExceeded(), Refused),
        (postgres.RaiseException(), Refused),
        (psycopg.DataError("text fields cannot contain NUL"), Refused),
        (postgres.UndefinedTable(), FailedPrecondition),
        (postgres.SyntaxError(), Internal),
        (sqlalchemy.exc.TimeoutError(), Unavailable),
        (sqlalchemy.exc.OperationalError("SELECT 1", {}, psycopg.OperationalError("gone")), Unavailable),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), Refused),
        (OverflowError("Python int too large to convert to SQLite INTEGER"), Refused),
        (ConnectionResetError(), Unavailable),
        (TimeoutError(), Unavailable),
        (Fenced("x"), Fenced),
        (KeyError("x"), Internal),
    ],
)
def test_an_error_is_named_after_what_the_caller_does(error: Exception, meaning: type[AirscrewError]) -> None:
    assert type(translate(error)) is meaning


@pytest.mark.parametrize(
    ("statements", "meaning"),
    [
        (["SELECT * FROM missing"], FailedPrecondition),
        (["CREATE TABLE t (a INTEGER NOT NULL)", "INSERT INTO t VALUES (NULL)"], Refused),
        (["CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES ('x')"], Refused),
        (["SELEKT"], Internal),
    ],
)
def test_errors_of_sqlite_are_told_apart_by_their_code(statements: list[str], meaning: type[AirscrewError]) -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(meaning), translated():
        for statement in statements:
            connection.execute(statement)
    connection.close()
