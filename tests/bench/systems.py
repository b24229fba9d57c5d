"""A whole system for one measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import databases
from tests.support import flyte
from tests.support.flyte import Stubs
from tests.support.system import System

QUIET = {"AIRSCREW_LOG_LEVEL": "warning"}
ROOT = Path(__file__).resolve().parents[2]
TASK_PYTHON = ROOT / ".venv-tasks" / "bin" / "python"
"""Of the tasks' own environment."""
TASK_CODE = {"AIRSCREW_EXECUTOR_TASK_ENVS": f"PYTHONPATH={ROOT / 'tests' / 'bench' / 'code'}"}
"""So that task processes find `workloads.MODULE`."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A system that runs, and a client's stubs for it."""

    system: System
    stubs: Stubs
    database: str
    """`sqlite` or `postgres`."""
    url: str
    pids: Mapping[str, int]
    """Of its processes, by their names."""


@contextmanager
def started(database: str, environment: Mapping[str, str] = QUIET) -> Iterator[Bench]:
    """A fresh one, on a database of that kind."""
    with (
        tempfile.TemporaryDirectory(prefix="airscrew-bench-") as folder,
        databases.opened(database, Path(folder)) as url,
        System.start(Path(folder) / "system", database=url, environment=environment, options=task_python()) as system,
        flyte.Client(system.endpoint, Path(folder) / "home").stubs() as stubs,
    ):
        pids = {name: int(process["pid"]) for name, process in system.state()["processes"].items()}
        yield Bench(system, stubs, database, url or f"sqlite:///{system.database_file}", pids)


def task_python() -> tuple[str, ...]:
    """The option that makes tasks run in the tasks' own environment, where there is one."""
    return ("--task-python", str(TASK_PYTHON)) if TASK_PYTHON.exists() else ()
