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

from services.standalone import hardware, health, ports
from services.standalone.datadir import DataDir
from services.standalone.settings import Options
from services.standalone.stores import Stores
from services.standalone.supervisor import Program

SHARED = frozenset({"DATABASE", "BLOB", "ETCD", "QUEUE", "PROPELLERS", "SESSION_TOKEN", "SIGNING_KEY", "LISTEN"})
"""Settings that tie the processes together: never inherited."""

NOTHING: Mapping[str, str] = MappingProxyType({})

FOR_PEOPLE = {"AIRSCREW_LOG_FORMAT": "text"}
"""The logs lie in files that somebody opens in an editor."""

IMPATIENT = {
    "AIRSCREW_EXECUTOR_SHUTDOWN_GRACE_SECONDS": "5",
    "AIRSCREW_EXECUTOR_KILL_GRACE_SECONDS": "3",
    "AIRSCREW_EXECUTOR_FLUSH_SECONDS": "2",
}
"""Somebody waits at the terminal: tasks that run on for longer after Ctrl-C are started again at the next start."""


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
    """The processes of one system. Claims ports and adds them to `taken`; raises `CannotStart` when there is none."""
    port = ports.claim(options.port)
    taken.add(port)
    http_port = ports.beside(port, taken)
    propellers = _names("propeller", options.propellers)
    executors = _names("executor", options.executors)
    address = {name: f"{ports.LOOPBACK}:{ports.free(taken)}" for name in ("queue", *propellers, *executors)}
    token = str(data.secret("session-token"))

    def program(
        name: str, defaults: Mapping[str, str] = NOTHING, grace_seconds: float = 10.0, **settings: str
    ) -> Program:
        service = name.partition("-")[0]
        listen = settings.setdefault("AIRSCREW_LISTEN", address.get(name, ""))
        return Program(
            name=name,
            argv=(sys.executable, "-P", "-m", f"services.{service}"),  # -P: a user's folder `services` is not ours
            environ={**FOR_PEOPLE, **defaults, **_without(inherited, service, settings), **settings},
            log=data.rotate_log(name),
            probe=health.serving(listen),
            address=listen,
            grace_seconds=grace_seconds,
        )

    return Plan(
        queue=program("queue"),
        admin=program(
            "admin",
            AIRSCREW_LISTEN=f"{ports.LOOPBACK}:{port}",
            AIRSCREW_ADMIN_HTTP_LISTEN=f"{ports.LOOPBACK}:{http_port}",
            AIRSCREW_ADMIN_HTTP_URL=f"http://localhost:{http_port}",
            AIRSCREW_ADMIN_SIGNING_KEY_FILE=str(data.secret("signing-key")),
            AIRSCREW_DATABASE=stores.database,
            AIRSCREW_BLOB=stores.blob,
            AIRSCREW_QUEUE=address["queue"],
        ),
        propellers=tuple(
            program(
                name,
                AIRSCREW_PROPELLER_ADDRESS=address[name],
                AIRSCREW_DATABASE=stores.database,
                AIRSCREW_BLOB=stores.blob,
                AIRSCREW_ETCD=",".join(stores.etcd),
                AIRSCREW_QUEUE=address["queue"],
                AIRSCREW_SESSION_TOKEN_FILE=token,
            )
            for name in propellers
        ),
        executors=tuple(
            program(
                name,
                IMPATIENT | hardware.share(options.executors),
                grace_seconds=15.0,
                AIRSCREW_EXECUTOR_ID=name,
                AIRSCREW_EXECUTOR_ADMIN_ADDRESS=f"localhost:{port}",
                AIRSCREW_EXECUTOR_DATA_DIR=str(data.executor(name)),
                AIRSCREW_EXECUTOR_TASK_PYTHON=str(options.task_python),
                AIRSCREW_BLOB=stores.blob,
                AIRSCREW_PROPELLERS=",".join(address[propeller] for propeller in propellers),
                AIRSCREW_SESSION_TOKEN_FILE=token,
                **hardware.devices(position),
            )
            for position, name in enumerate(executors)
        ),
        endpoint=f"localhost:{port}",
        http_url=f"http://localhost:{http_port}",
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
