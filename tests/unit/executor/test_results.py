"""Patience with the blob store, and logs on stores that know no appending."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from libs import blob
from libs.workflow import errors
from services.executor import results
from services.executor.tasklog import TaskLog


class Flaky:
    """A store that is away for the first calls."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: dict[str, list[bytes]] = {}

    async def write(self, uri: str, data: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise errors.Unavailable("away")
        self.written.setdefault(uri, []).append(data)


def storage(store: Any, patience_seconds: float = 5.0) -> results.Storage:
    return results.Storage(store, patience_seconds)


async def test_a_store_that_is_away_is_asked_again() -> None:
    store = Flaky(failures=2)
    await storage(store).write("s3://b/k", b"x")
    assert store.written == {"s3://b/k": [b"x"]}


async def test_patience_ends() -> None:
    with pytest.raises(errors.Unavailable, match="does not answer"):
        await storage(Flaky(failures=1000), patience_seconds=0.3).write("s3://b/k", b"x")


async def test_a_place_outside_the_store_is_not_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(errors.FailedPrecondition, match="does not have this place"):
        await storage(blob.open(str(tmp_path / "ours"))).write("/theirs/inputs.pb", b"")


async def test_a_log_is_uploaded_while_it_grows_and_at_the_end(tmp_path: Path) -> None:
    store = Flaky(failures=0)
    log = TaskLog(storage(store), "s3://b/log", tmp_path / "logs" / "log", upload_seconds=0.05)
    await log.open()
    following = asyncio.create_task(log.follow())
    log.path.write_bytes(b"one\n")
    while "s3://b/log" not in store.written:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert store.written["s3://b/log"] == [b"one\n"], "what has not grown is not uploaded again"
    following.cancel()
    with log.path.open("ab") as file:
        file.write(b"two\n")
    assert log.tail() == "one\ntwo"
    await log.close()
    assert store.written["s3://b/log"][-1] == b"one\ntwo\n"
    assert not log.path.exists()


async def test_a_log_that_cannot_be_uploaded_fails_nothing(tmp_path: Path) -> None:
    log = TaskLog(storage(Flaky(failures=1000), 0.1), "s3://b/log", tmp_path / "log", upload_seconds=1)
    await log.open()
    log.path.write_bytes(b"x")
    await log.close()
    assert not log.path.exists()


async def test_a_log_in_a_directory_store_is_appended_in_place(tmp_path: Path) -> None:
    uri = str(tmp_path / "blob" / "logs" / "0.log")
    log = TaskLog(storage(Flaky(0)), uri, tmp_path / "unused", upload_seconds=1)
    await log.open()
    assert str(log.path) == uri and log.path.parent.is_dir()
    await log.follow()
    await log.close()
    assert log.tail() == ""
