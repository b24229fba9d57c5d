"""What can be configured of a propeller: `AIRSCREW_PROPELLER_<FIELD>`, shared ones `AIRSCREW_<FIELD>`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from libs.workflow.backend import Backend
from libs.workflow.graph import DEFAULT_SLOTS
from services.propeller.garbage.retention import FOREVER, Retention

Number = TypeVar("Number", int, float)


_EVERYWHERE = ("", "*", "0.0.0.0", "[::]", "::")
"""Hosts at which a server listens on all interfaces, and which no client can connect to."""


@dataclass(frozen=True)
class PropellerSettings:
    """The settings of one propeller replica."""

    listen: str
    """Where executors connect: `host:port`; port 0 takes a free one."""

    database: str
    """`sqlite:///path` (one propeller only) or `postgresql://…`."""

    blob: str
    """Where literal maps, code, logs and outputs lie: an absolute directory, or `s3://…`, `gs://…`, `az://…`."""

    etcd: tuple[str, ...]
    """Endpoints of the etcd cluster that holds the lease of leadership: `host:port`."""

    session_token: str
    """What executors prove themselves with. Task processes never see it."""

    queue: str = ""
    """Address of the queue service. Without one, new work is found by the sweep alone."""

    address: str = ""
    """Under which executors reach this replica, and `admin`, which hears of ends here; default: the address that it
    listens on, though nobody is told to hear of ends at one of all interfaces (`0.0.0.0`) or with port 0."""

    identity: str = ""
    """Name of this replica, for people and for the other replicas, so each has its own; default: host name and process
    id."""

    shards: int = 1
    """How many shards the installation has: fixed for its life, and the same for `admin`."""

    task_backend: Backend = Backend.PROCESS
    """How executors run tasks, `process` or `pod`: no dynamic task may ask for what the other alone could run. For all
    services alike."""

    workers: int = 200
    """Executions that may be on their way into memory at once, and so are read together. Turns, once they are there,
    wait for nothing."""

    lease_ttl_seconds: int = 5
    """How long a dead leader keeps its place. Shorter means faster fail-over and less patience with a slow etcd."""

    executor_grace_seconds: float = 15.0
    """After this long without a sign of life an executor's attempts are failed as SYSTEM and tried elsewhere."""

    heartbeat_seconds: float = 3.0
    """How often an idle executor says that it is there."""

    sweep_seconds: float = 10.0
    """How often the store is searched for what no hint told: the safety net, never the normal path."""

    commit_rows: int = 5000
    """Most rows in one commit. Bounds the time that a transaction holds its locks."""

    stop_grace_seconds: float = 10.0
    """How long turns under way may take to end when the process is told to stop."""

    chaos_allowed: bool = False
    """Whether `airscrew chaos kill-leader` may end this process as SIGKILL does. For systems on which somebody wants to
    see what that costs."""

    default_cpu_millis: int = DEFAULT_SLOTS.cpu_millis
    """What a task takes that does not ask for cpu, in thousandths of a core."""

    default_memory_bytes: int = DEFAULT_SLOTS.memory_bytes
    """What a task takes that does not ask for memory."""

    project_weights: Mapping[str, str] = field(default_factory=dict)
    """What part of all slots a project is entitled to while others want some too: `a=3,b=1`; 1 for who is not named,
    or what is said for `*`."""

    project_limits: Mapping[str, str] = field(default_factory=dict)
    """How many attempts of a project may hold slots at once: `a=100,*=500`; none for who is not named. Each shard gets
    an equal part of it, which an execution cannot exceed, so a limit is at least the number of shards."""

    retention_days: Mapping[str, str] = field(default_factory=dict)
    """How many days after its end an execution is kept, by project: `*=90,a=7,b=forever`. For ever where nothing is
    said: nobody's results go because somebody forgot a setting."""

    retention_executions: Mapping[str, str] = field(default_factory=dict)
    """How many finished executions of a project are kept, the last to end: `*=10000`. What is launched by others counts
    with them. An execution goes when either limit says so."""

    cache_retention_days: Mapping[str, str] = field(default_factory=dict)
    """How many days after their last use cached outputs are kept, by project of the task. Where nothing is said, as
    RETENTION_DAYS has it for that project. An execution stays while there are outputs of it in the cache."""

    collect_every_seconds: float = 1800.0
    """How often the garbage collector looks for what may go. FlytePropeller's default."""

    collect_delay_seconds: float = 3600.0
    """How long what may go is left alone and then looked at again, before it goes."""

    collect_rows: int = 1000
    """Most rows that the garbage collector changes in one transaction: some 10 ms in which nobody else writes, on
    SQLite."""

    etcd_ca_file: str = ""
    """Certificate authority of the etcd endpoints; empty: no TLS."""

    etcd_cert_file: str = ""
    """Client certificate for etcd, where it asks for one."""

    etcd_key_file: str = ""
    """Its private key."""

    etcd_user: str = ""
    """Who this is for etcd, where it asks for that."""

    etcd_password: str = ""
    """And the password."""

    def __post_init__(self) -> None:
        if self.heartbeat_seconds * 2 > self.executor_grace_seconds:
            raise ValueError("EXECUTOR_GRACE_SECONDS must be at least twice HEARTBEAT_SECONDS")
        if self.workers < 1:
            raise ValueError("WORKERS must be at least 1")
        if self.commit_rows < 1:
            raise ValueError("COMMIT_ROWS must be at least 1")
        if self.collect_every_seconds <= 0 or self.collect_delay_seconds < 0:
            raise ValueError("COLLECT_EVERY_SECONDS must be positive, COLLECT_DELAY_SECONDS not negative")
        if self.collect_rows < 2:
            raise ValueError("COLLECT_ROWS must be at least 2")
        if self.shards < 1:
            raise ValueError("SHARDS must be at least 1")
        self.weights()
        for shard in range(self.shards):
            self.limits(shard)
        self.retention()

    @property
    def follow_at(self) -> str:
        """Where ends can be heard of from this replica itself; empty where nobody elsewhere could connect to."""
        address = self.address or self.listen
        host, _, port = address.rpartition(":")
        return "" if host in _EVERYWHERE or port == "0" else address

    def weights(self) -> dict[str, float]:
        """The projects' weights as numbers."""
        return {name: _positive(f"PROJECT_WEIGHTS: {name}", text, float) for name, text in self.project_weights.items()}

    def limits(self, shard: int = 0) -> dict[str, int]:
        """A shard's part of the projects' limits: they are divided, so that all of them together keep to the limit."""
        return {name: self._part(name, text, shard) for name, text in self.project_limits.items()}

    def _part(self, name: str, text: str, shard: int) -> int:
        limit = _positive(f"PROJECT_LIMITS: {name}", text, int)
        if limit < self.shards:
            raise ValueError(f"PROJECT_LIMITS: {name}: {limit} cannot be divided among {self.shards} shards")
        part, left = divmod(limit, self.shards)
        return part + (shard < left)

    def retention(self) -> Retention:
        """How long what is kept."""
        return Retention(
            days=_limits("RETENTION_DAYS", self.retention_days, float),
            executions=_limits("RETENTION_EXECUTIONS", self.retention_executions, int),
            cache_days=_limits("CACHE_RETENTION_DAYS", self.cache_retention_days, float),
        )


def _limits(what: str, texts: Mapping[str, str], read: Callable[[str], Number]) -> dict[str, Number | None]:
    return {name: None if text == FOREVER else _positive(f"{what}: {name}", text, read) for name, text in texts.items()}


def _positive(what: str, text: str, read: Callable[[str], Number]) -> Number:
    with suppress(ValueError):
        number = read(text)
        if 0 < number < 1e9:
            return number
    raise ValueError(f"{what}: {text!r} is not a positive number")
