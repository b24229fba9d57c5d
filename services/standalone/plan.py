"""Which processes a system consists of, with which settings. Decides, starts nothing.

Each process gets what it needs and no more: the executor runs users' code and is told neither the database nor etcd.
What the user has in the environment for a service (`AIRSCREW_EXECUTOR_…`, `OTEL_…`) reaches it, except the settings
that are decided here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from libs.workflow.backend import SETTING, Backend
from services.standalone import hardware, ports
from services.standalone.datadir import DataDir
from services.standalone.settings import CannotStart, Options
from services.standalone.stores import Stores
from services.standalone.supervisor import Program

SHARED = frozenset(
    {
        "DATABASE",
        "BLOB",
        "ETCD",
        "QUEUE",
        "PROPELLERS",
        "SESSION_TOKEN",
        "SIGNING_KEY",
        "LISTEN",
        "SHARDS",
        "TASK_BACKEND",
    }
)
"""Settings that tie the processes together: never inherited."""

BACKEND = {SETTING: Backend.PROCESS.value}

NOTHING: Mapping[str, str] = MappingProxyType({})

FOR_PEOPLE = {"AIRSCREW_LOG_FORMAT": "text"}
"""The logs lie in files that somebody opens in an editor."""

IMPATIENT = {
    "AIRSCREW_EXECUTOR_SHUTDOWN_GRACE_SECONDS": "5",
    "AIRSCREW_EXECUTOR_KILL_GRACE_SECONDS": "3",
    "AIRSCREW_EXECUTOR_FLUSH_SECONDS": "2",
}
"""Somebody waits at the terminal: tasks that run on for longer after Ctrl-C are started again at the next start."""

FRAGILE = {"AIRSCREW_PROPELLER_CHAOS_ALLOWED": "true"}
"""Whoever can reach a system on their own machine may see what it costs to kill its leader."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes by role, and where clients find the system."""

    queue: Program
    admin: Program
    propellers: tuple[Program, ...]
    executors: tuple[Program, ...]
    endpoint: str
    """`host:port` of Flyte's API."""
    http_url: str
    """Uploads and downloads."""

    @property
    def stop_order(self) -> tuple[tuple[str, ...], ...]:
        """Groups of names; each group ends before the next is asked to.

        Executors first, so that their last reports find a leader; the front door before the leaders, so that nothing
        new comes in; the queue after those who lease from it.
        """
        roles = (self.executors, (self.admin,), self.propellers, (self.queue,))
        return tuple(tuple(program.name for program in role) for role in roles)


def make(options: Options, data: DataDir, stores: Stores, inherited: Mapping[str, str], taken: set[int]) -> Plan:
    """The processes of one system. Claims ports and adds them to `taken`; raises `CannotStart` when there is none, and
    for a backend that one machine does not have."""
    _check_backend(inherited)
    port = ports.claim(options.port)
    taken.add(port)
    http_port = ports.beside(port, taken)
    propellers = _names("propeller", options.propellers)
    executors = _names("executor", options.executors)
    address = {name: f"{ports.LOOPBACK}:{ports.free(taken)}" for name in ("queue", *propellers, *executors)}
    draft = _Draft(options, data, stores, inherited, port, http_port, address)
    return Plan(
        queue=draft.program("queue", AIRSCREW_QUEUE_ADMIN=f"{ports.LOOPBACK}:{port}"),
        admin=draft.admin(),
        propellers=tuple(map(draft.propeller, propellers)),
        executors=tuple(draft.executor(name, position, propellers) for position, name in enumerate(executors)),
        endpoint=f"localhost:{port}",
        http_url=f"http://localhost:{http_port}",
    )


@dataclass(frozen=True, slots=True)
class _Draft:
    """What the processes share, and from it each role."""

    options: Options
    data: DataDir
    stores: Stores
    inherited: Mapping[str, str]
    port: int
    http_port: int
    address: Mapping[str, str]
    """Of the processes that listen for each other, by name."""

    def admin(self) -> Program:
        return self.program(
            "admin",
            AIRSCREW_LISTEN=f"{ports.LOOPBACK}:{self.port}",
            AIRSCREW_ADMIN_HTTP_LISTEN=f"{ports.LOOPBACK}:{self.http_port}",
            AIRSCREW_ADMIN_HTTP_URL=f"http://localhost:{self.http_port}",
            AIRSCREW_ADMIN_SIGNING_KEY_FILE=str(self.data.secret("signing-key")),
            AIRSCREW_DATABASE=self.stores.database,
            AIRSCREW_BLOB=self.stores.blob,
            AIRSCREW_QUEUE=self.address["queue"],
            AIRSCREW_SHARDS=str(self.options.shards),
        )

    def propeller(self, name: str) -> Program:
        return self.program(
            name,
            FRAGILE | {"AIRSCREW_PROPELLER_IDENTITY": name},
            AIRSCREW_PROPELLER_ADDRESS=self.address[name],
            AIRSCREW_DATABASE=self.stores.database,
            AIRSCREW_BLOB=self.stores.blob,
            AIRSCREW_ETCD=",".join(self.stores.etcd),
            AIRSCREW_QUEUE=self.address["queue"],
            AIRSCREW_SHARDS=str(self.options.shards),
            AIRSCREW_SESSION_TOKEN_FILE=self._token_file(),
        )

    def executor(self, name: str, position: int, propellers: tuple[str, ...]) -> Program:
        return self.program(
            name,
            IMPATIENT | hardware.share(self.options.executors),
            grace_seconds=15.0,
            AIRSCREW_EXECUTOR_ID=name,
            AIRSCREW_EXECUTOR_ADMIN_ADDRESS=f"localhost:{self.port}",
            AIRSCREW_EXECUTOR_DATA_DIR=str(self.data.executor(name)),
            AIRSCREW_EXECUTOR_TASK_PYTHON=str(self.options.task_python),
            AIRSCREW_BLOB=self.stores.blob,
            AIRSCREW_PROPELLERS=",".join(self.address[propeller] for propeller in propellers),
            AIRSCREW_SESSION_TOKEN_FILE=self._token_file(),
            **hardware.devices(position),
        )

    def program(
        self, name: str, defaults: Mapping[str, str] = NOTHING, grace_seconds: float = 10.0, **settings: str
    ) -> Program:
        """The process `name` of the service that the name begins with. `settings` are decided here, `defaults` give way
        to the user's environment."""
        service = name.partition("-")[0]
        listen = settings.setdefault("AIRSCREW_LISTEN", self.address.get(name, ""))
        return Program(
            name=name,
            argv=(sys.executable, "-P", "-m", f"services.{service}"),  # -P: a user's folder `services` is not ours
            environ={**FOR_PEOPLE, **defaults, **_without(self.inherited, service, settings), **BACKEND, **settings},
            log=self.data.rotate_log(name),
            address=listen,
            grace_seconds=grace_seconds,
        )

    def _token_file(self) -> str:
        return str(self.data.secret("session-token"))


def _check_backend(inherited: Mapping[str, str]) -> None:
    for name, value in inherited.items():
        asked = value.strip().lower()
        if name.startswith("AIRSCREW_") and name.endswith("_TASK_BACKEND") and asked not in ("", Backend.PROCESS):
            raise CannotStart(
                f"{name}={value}: on one machine tasks are processes. Pods need the services in a Kubernetes cluster: "
                f"docs/operations.md. Unset {name}"
            )


def _names(role: str, count: int) -> tuple[str, ...]:
    """`executor`, `executor-2`, `executor-3` …"""
    return (role, *(f"{role}-{number}" for number in range(2, count + 1)))


def _without(inherited: Mapping[str, str], service: str, settings: Mapping[str, str]) -> dict[str, str]:
    """The inherited environment without any spelling of what is decided here."""
    decided = SHARED | {_field(name, service) for name in settings}
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith("AIRSCREW_") or _field(name, service) not in decided
    }


def _field(name: str, service: str) -> str:
    """`DATABASE` for `AIRSCREW_DATABASE`, `AIRSCREW_ADMIN_DATABASE` and their `…_FILE`."""
    field = name.removeprefix("AIRSCREW_")
    return field.removeprefix(f"{service.upper()}_").removesuffix("_FILE")
