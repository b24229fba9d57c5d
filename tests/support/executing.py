"""An executor in the test's own event loop, its settings, and an environment in which task processes find flytekit.

Task processes must not find the engine's packages. The tests' own environment has them, so its commands are copied
into an environment that has everything of the tests' but the engine.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2, interface_pb2, tasks_pb2, types_pb2

from libs.runtime.clock import SystemClock
from libs.runtime.process import Life
from libs.telemetry.traces import Tracing
from services.executor import app
from services.executor.settings import ExecutorSettings
from tests.support.leader import TOKEN, Assignments, Leader

COMMANDS = ("pyflyte-execute", "pyflyte-fast-execute", "pyflyte-map-execute")


@pytest.fixture(scope="session")
def task_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix of a Python environment with flytekit and without the engine."""
    prefix = tmp_path_factory.mktemp("task-environment")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = prefix / "lib" / version / "site-packages"
    (prefix / "bin").mkdir()
    site.mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin"
    (prefix / "pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n")
    python = prefix / "bin" / "python"
    python.symlink_to(base / version)
    # A path in a .pth file is searched, but the .pth files in it are not read: the engine's is one of them.
    (site / "flytekit.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for command in COMMANDS:
        original = (Path(sys.prefix) / "bin" / command).read_text().splitlines()
        copy = prefix / "bin" / command
        copy.write_text("\n".join([f"#!{python}", *original[1:]]))
        copy.chmod(0o755)
    return prefix


@pytest.fixture
async def leader() -> AsyncIterator[Leader]:
    """A leader that acknowledges everything."""
    leader = await Leader().start()
    yield leader
    await leader.stop()


@pytest.fixture
def executor_settings(tmp_path: Path, leader: Leader, task_environment: Path) -> Iterator[dict[str, Any]]:
    """Fields of ExecutorSettings; tests change them before they start the executor."""
    yield {
        "propellers": (leader.address,),
        "session_token": TOKEN,
        "blob": str(tmp_path / "blob"),
        "data_dir": tmp_path / "data",
        "cpu_millis": 8000,
        "memory_bytes": 8 << 30,
        "gpus": (),
        "task_environments": {"*": str(task_environment)},
        "disk_floor_bytes": 0,
        "kill_grace_seconds": 1.0,
        "shutdown_grace_seconds": 0.2,
        "flush_seconds": 2.0,
    }


@pytest.fixture
def work(tmp_path: Path) -> Assignments:
    """Assignments that have their blobs where these settings have them."""
    return Assignments(str(tmp_path / "blob"))


@asynccontextmanager
async def executing(fields: dict[str, Any], tracing: Tracing | None = None, **ports: Any) -> AsyncIterator[Life]:
    """A running executor; leaving stops it in order."""
    async with asyncio.TaskGroup() as group:
        life = Life(group, SystemClock(), tracing or Tracing())
        serving = group.create_task(app.serve(ExecutorSettings(**fields), life, **ports), name="executor")
        try:
            yield life
        finally:
            life.stopping.set()
            await serving
            life.cancel_tasks()


def template(*words: str, outputs: dict[str, types_pb2.SimpleType] | None = None, **container: Any) -> Any:
    """A task that runs `words`; `outputs` are what it declares."""
    declared = {
        name: interface_pb2.Variable(type=types_pb2.LiteralType(simple=kind)) for name, kind in (outputs or {}).items()
    }
    return tasks_pb2.TaskTemplate(
        id=identifier_pb2.Identifier(
            resource_type=identifier_pb2.TASK, project="flytesnacks", domain="development", name="t", version="v1"
        ),
        type="python-task",
        interface=interface_pb2.TypedInterface(outputs=interface_pb2.VariableMap(variables=declared)),
        container=tasks_pb2.Container(image="any", args=words, **container),
    )


def shell(script: str, **more: Any) -> Any:
    """A task that runs a shell script. `$1` is its output prefix."""
    return template("/bin/sh", "-c", script, "sh", "{{.outputPrefix}}", **more)
