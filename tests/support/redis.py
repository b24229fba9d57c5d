"""A real Redis from the distribution's packages, that a test may kill and start again on the same port and data.

Every write is on disk before it is answered, so that what it has answered survives a kill.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.standalone import ports

_START_SECONDS = 20.0


class RedisServer:
    """A server and a client of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = ports.free(set())
        self.client = redis.Redis(host="127.0.0.1", port=self.port, retry=Retry(NoBackoff(), 0))

    def source(self, key: str) -> str:
        """The address of a list or stream, as an intake is told it."""
        return f"redis://127.0.0.1:{self.port}/{key}"

    def start(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.fail("the tests need a Redis server: install the package `redis-server`")
        settings = {"port": str(self.port), "bind": "127.0.0.1", "appendonly": "yes", "appendfsync": "always"}
        settings |= {"dir": str(self._directory), "save": "", "logfile": "redis.log"}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([binary, *options], cwd=self._directory, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.client.ping()
                return
            except redis.exceptions.RedisError:  # not there yet, or still reading its data
                assert time.monotonic() < deadline, (self._directory / "redis.log").read_text()
                time.sleep(0.01)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server of the test's own."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    server.start()
    yield server
    server.kill()
    server.client.close()
