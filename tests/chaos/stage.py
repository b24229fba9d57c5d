"""The system, each process started by hand: three propellers, two executors, queue, admin, PostgreSQL, three etcd.

A process that ends is started again, as Kubernetes would do it. Nothing is told an address that does not lead through
the wires.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.standalone import lifeline, ports
from services.standalone.etcd import find_etcd
from tests.chaos.disk import Disk
from tests.chaos.history import History
from tests.chaos.members import MEMBERS, Members
from tests.chaos.wires import Wires
from tests.support import smalltasks
from tests.support.postgres import PostgresServer

PROPELLERS = ("propeller-1", "propeller-2", "propeller-3")
EXECUTORS = ("executor-1", "executor-2")
POSTGRES = "postgres"
SERVICES = (*MEMBERS, "queue", "admin", *PROPELLERS, *EXECUTORS)

LEASE_TTL_SECONDS = 5
SLOTS = 8
"""Of each executor: fewer than the load has tasks at once, so that both have work."""
READY_SECONDS = 60.0
TOKEN = "a token that only tests have"


class Stage:
    """The running processes, and what can be done to them."""

    def __init__(
        self, folder: Path, postgres: PostgresServer, postgres_pid: Callable[[], int | None], shards: int
    ) -> None:
        self.folder = folder
        self._shards = shards
        self.postgres = postgres
        self.disk = Disk(folder / "blobs")
        self.wires = Wires(self.pids)
        self.died: Counter[str] = Counter()
        """Ends of processes that no fault asked for."""
        self._postgres_pid = postgres_pid
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._back_at: dict[str, float] = {}
        self._opened = ExitStack()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    @classmethod
    @contextmanager
    def built(
        cls, folder: Path, postgres: PostgresServer, postgres_pid: Callable[[], int | None], shards: int = 1
    ) -> Iterator[Stage]:
        """Everything, ready to work; gone at the end."""
        stage = cls(folder, postgres, postgres_pid, shards)
        with stage.disk, stage.wires:
            try:
                stage._start()
                yield stage
            finally:
                stage._end()

    def pids(self) -> dict[str, int]:
        """Who runs now."""
        return {name: process.pid for name, process in self._processes.items()}

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, name: str, away_seconds: float) -> None:
        """Ends a process at once; another one takes its place after a while."""
        with self._lock:
            self._back_at[name] = time.monotonic() + away_seconds
            os.kill(self._processes[name].pid, signal.SIGKILL)

    def stop(self, name: str) -> None:
        os.kill(self._processes[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        with self._lock:
            os.kill(self._processes[name].pid, signal.SIGCONT)

    def crash_postgres(self) -> None:
        """Ends every process of the server at once, without a checkpoint, and starts it again."""
        pid = self._postgres_pid()
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
        self.postgres.stop()
        self.postgres.start()

    def _start(self) -> None:
        taken: set[int] = {self.postgres.port}
        url = self.postgres.create_database()
        name = url.rpartition("/")[2]
        self.history = History(url)
        self._opened.callback(self.history.close)
        self.history.begin(("admin", *PROPELLERS))
        listen = {each: ports.free(taken) for each in ("queue", "admin", "admin-http", *PROPELLERS, *EXECUTORS)}
        self.endpoint = f"{ports.LOOPBACK}:{listen['admin']}"
        members = self.members = Members(find_etcd(), self.folder, taken)
        members.peers |= {m: f"http://{self._behind(m, members.peer_ports[m], taken)}" for m in MEMBERS}
        etcd = ",".join(self._behind(m, members.client_ports[m], taken) for m in MEMBERS)
        queue = self._behind("queue", listen["queue"], taken)
        database = self._behind(POSTGRES, self.postgres.port, taken)
        leaders = {p: self._behind(p, listen[p], taken) for p in PROPELLERS}
        shared = {
            "AIRSCREW_BLOB": str(self.disk.path),
            "AIRSCREW_QUEUE": queue,
            "AIRSCREW_SESSION_TOKEN": TOKEN,
            "AIRSCREW_SHARDS": str(self._shards),
        }

        def at(service: str) -> dict[str, str]:
            return {"AIRSCREW_LISTEN": f"{ports.LOOPBACK}:{listen[service]}"}

        for member in MEMBERS:
            self._commands[member] = members.command(member), {}
        self._service("queue", at("queue"))
        self._service(
            "admin",
            shared
            | at("admin")
            | {
                "AIRSCREW_ADMIN_HTTP_LISTEN": f"{ports.LOOPBACK}:{listen['admin-http']}",
                "AIRSCREW_ADMIN_SIGNING_KEY": "signed by nobody but tests",
                "AIRSCREW_DATABASE": f"postgresql://admin@{database}/{name}",
            },
        )
        for propeller in PROPELLERS:
            self._service(
                propeller,
                shared
                | at(propeller)
                | {
                    "AIRSCREW_PROPELLER_IDENTITY": propeller,
                    "AIRSCREW_PROPELLER_ADDRESS": leaders[propeller],
                    "AIRSCREW_PROPELLER_LEASE_TTL_SECONDS": str(LEASE_TTL_SECONDS),
                    "AIRSCREW_PROPELLER_HEARTBEAT_SECONDS": "1",
                    "AIRSCREW_PROPELLER_EXECUTOR_GRACE_SECONDS": "6",
                    "AIRSCREW_DATABASE": f"postgresql://{propeller}@{database}/{name}",
                    "AIRSCREW_ETCD": etcd,
                },
            )
        tasks = smalltasks.settings(self.folder / "tasks", slots=SLOTS)
        for executor in EXECUTORS:
            self._service(
                executor,
                shared
                | at(executor)
                | tasks
                | {
                    "AIRSCREW_EXECUTOR_ID": executor,
                    "AIRSCREW_EXECUTOR_DATA_DIR": str(self.folder / f"{executor}-data"),
                    "AIRSCREW_PROPELLERS": ",".join(leaders.values()),
                },
            )
        for service in SERVICES:
            self._spawn(service)
        self._keeper.start()
        asyncio.run(self._ready(f"{ports.LOOPBACK}:{listen[s]}" for s in ("queue", "admin", *PROPELLERS, *EXECUTORS)))

    def _behind(self, target: str, port: int, taken: set[int]) -> str:
        return f"{ports.LOOPBACK}:{self.wires.before(target, port, taken)}"

    def _service(self, name: str, settings: Mapping[str, str]) -> None:
        service = name.partition("-")[0]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRSCREW_")}
        command = [sys.executable, "-P", "-m", f"services.{service}"]
        self._commands[name] = command, inherited | {"AIRSCREW_LOG_FORMAT": "text"} | dict(settings)

    def _spawn(self, name: str) -> None:
        command, environ = self._commands[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                lifeline.tied(*command),
                env=environ or None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _ready(self, addresses: Iterator[str]) -> None:
        async with asyncio.timeout(READY_SECONDS):
            for address in addresses:
                while not await _serving(address):
                    await asyncio.sleep(0.1)

    def _keep(self) -> None:
        """Starts again what has ended, until the end of all."""
        while not self._closing.wait(0.05):
            with self._lock:
                for name, process in list(self._processes.items()):
                    if process.poll() is None:
                        continue
                    if name not in self._back_at:
                        self.died[name] += 1
                        self._back_at[name] = time.monotonic() + 0.5
                    if time.monotonic() >= self._back_at[name]:
                        del self._back_at[name]
                        self._spawn(name)

    def _end(self) -> None:
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._opened.close()


async def _serving(address: str) -> bool:
    # A channel for each look: one that failed would wait out its back-off, and starting would take longer.
    async with grpc.aio.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        try:
            reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
