"""A real PostgreSQL from the distribution's packages, one for the whole session.

It refuses to run as root, so then it runs as the user that the package made, or as nobody. It listens on a free port of
127.0.0.1 only, trusts everybody, and does not sync to the disk: no test here is about power cuts.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from libs.store import migrate, schema
from services.standalone import ports

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "timezone": "UTC",
    "log_min_messages": "fatal",
}


class PostgresServer:
    """A server that a test may stop and start again, on the same port and data."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` replace ours."""
        self._binaries = _find_binaries()
        self._user = _unprivileged_user()
        self._data = directory / "data"
        self._log = directory / "log"
        self.port = ports.free(set())
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._settings = {**_SETTINGS, **(settings or {}), "port": str(self.port)}
        self._free: list[str] = []
        if self._user is not None:
            directory.chmod(0o755)
            shutil.chown(directory, self._user)
        options = ["-U", "airscrew", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        command = [str(self._binaries / "initdb"), "-D", str(self._data), *options]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd="/")

    def url(self, database: str) -> str:
        return f"postgresql://airscrew@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *settings],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
            )
        self._wait_until_ready(self.url("postgres"))

    def stop(self) -> None:
        """Ends every connection at once, as a restart of the server does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextmanager
    def speaking_tls(self, database: str) -> Iterator[str]:
        """Url of a database to which one is connected by TLS, for the length of the block."""
        key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        command = ["openssl", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.crt"]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self._data)
        url = f"{self.url(database)}?sslmode=require"
        self._set("ssl = on")
        try:
            self._wait_until_ready(url)
            yield url
        finally:
            self._set("ssl = off")

    def _set(self, setting: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")

    def create_database(self) -> str:
        """Url of a database that is migrated and holds no rows. Give it to `take_back` or `drop_database` after."""
        if self._free:
            return self._free.pop()
        url = self.create_empty_database(f"test_{next(self._numbers)}")
        migrate.upgrade(url)
        return url

    def take_back(self, url: str) -> None:
        """Empties a database for the next one: making a new one is a hundred times the work."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_END_OTHERS)
            connection.execute("; ".join(f"DELETE FROM {table}" for table in schema.metadata.tables))
            connection.execute("UPDATE alembic_version SET version_num = %s", (schema.REVISION,))
        self._free.append(url)

    def create_empty_database(self, name: str) -> str:
        """An empty database, without tables; returns its url."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _wait_until_ready(self, url: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()}") from error
            time.sleep(0.05)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Stops a process, such as a connection's server side, for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The running server. A test that stops it must start it again."""
    # Not pytest's own temporary directory: the server's user may not enter that.
    directory = Path(tempfile.mkdtemp(prefix="airscrew-postgres-"))
    try:
        server = PostgresServer(directory)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _find_binaries() -> Path:
    on_path = shutil.which("postgres")
    found = [Path(on_path).parent] if on_path else []
    found += sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        key=lambda path: int(path.parent.name),
        reverse=True,
    )
    if not found:
        pytest.fail("the tests need a PostgreSQL server: install the package `postgresql` (apt-get install postgresql)")
    return found[0]


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
