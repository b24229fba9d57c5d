"""`airscrew demo`: the whole way of a workflow on this machine, seen from outside, and checked.

Starts a system in a fresh directory on free ports, submits the sample with the unmodified `pyflyte run --remote`,
watches it, compares the outputs with those of a local run, stops the system. Exit code 0 says that all of it was right.

The system is a process like any user's: this module knows its command line and the `run.json` in its data directory,
nothing else of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from libs.workflow.identity import ExecutionId
from libs.workflow.phases import NodePhase
from services.cli import names, render, watch
from services.cli.api import connected
from services.cli.endpoint import Endpoint
from services.cli.names import UsageError
from services.cli.options import Client
from services.cli.output import Output
from services.cli.views import Tree

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKFLOW = "training_data"

READY_SECONDS = 180.0
"""Generous, because the first start may fetch etcd."""
STOP_SECONDS = 60.0
PYFLYTE_SECONDS = 120.0

RIGHT, WRONG = 0, 1


@dataclass(frozen=True, slots=True)
class _System:
    """A running system, as it describes itself."""

    endpoint: str
    config: str
    task_python: Path


@click.command()
@click.option("--keep", is_flag=True, help="Leave the data directory behind, for a look at logs and files.")
def demo(keep: bool) -> int:
    """Start a system, run the sample workflow on it with pyflyte, check what comes out, stop it."""
    if not (EXAMPLES / "demo.py").is_file():
        raise UsageError("the sample workflow is not here: run this from a checkout of the repository")
    began = time.monotonic()
    with _folder(keep) as folder, _started(folder) as system:
        wrong = _story(system, Output())
    print(
        f"\n{'All right' if not wrong else 'NOT right: ' + '; '.join(wrong)}. {time.monotonic() - began:.0f} s in all."
    )
    return WRONG if wrong else RIGHT


def _story(system: _System, output: Output) -> list[str]:
    """Submits, watches, compares; the answer lists what was not right."""
    id = ExecutionId(names.DEFAULT_PROJECT, names.DEFAULT_DOMAIN, f"demo-{secrets.token_hex(4)}")
    _title("Submit, with the unmodified client")
    submitted = _flytekit(system, "pyflyte", "-c", system.config, "run", "--remote", "--name", id.name, *_sample())
    if submitted != 0:
        return [f"pyflyte ended with exit code {submitted}"]
    _title("Watch")
    code, tree = asyncio.run(_watched(system, id, output))
    if not output.live:  # there the watch has ended with it
        print()
        print(render.tree_text(tree, time.time_ns() // 1000))
    wrong = _doubts(tree)
    if code != watch.SUCCEEDED:
        return ["the execution did not succeed", *wrong]
    _title("Outputs, compared with a local run")
    if _flytekit(system, "python", str(EXAMPLES / "compare.py"), system.config, id.name, *_sample()) != 0:
        wrong.append("the outputs are not those of a local run")
    return wrong


async def _watched(system: _System, id: ExecutionId, output: Output) -> tuple[int, Tree]:
    async with connected(Endpoint(system.endpoint, "demo")) as admin:
        client = Client(admin, id.project, id.domain, output)
        return await watch.until_end(client, id), await admin.tree(id)


def _doubts(tree: Tree) -> list[str]:
    """What a finished, successful execution must have."""
    doubts = []
    if int(tree.trace_id or "0", 16) == 0:
        doubts.append("the execution has no trace id")
    for node in tree.nodes:
        if node.phase is not NodePhase.SUCCEEDED:
            doubts.append(f"node {node.id} is {node.phase.name}")
        elif node.ended_us is None:
            doubts.append(f"node {node.id} has no duration")
    return doubts


def _sample() -> tuple[str, str]:
    return str(EXAMPLES / "demo.py"), WORKFLOW


def _flytekit(system: _System, program: str, *arguments: str) -> int:
    """Runs a program of the tasks' environment, as a user would with that environment active."""
    folder = system.task_python.parent
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("FLYTE", "PYTHON"))}
    finished = subprocess.run(
        [str(folder / program), *arguments],
        env=mine | {"PATH": f"{folder}{os.pathsep}{mine.get('PATH', os.defpath)}"},
        timeout=PYFLYTE_SECONDS,
        check=False,
    )
    return finished.returncode


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """A fresh directory, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="airscrew-demo-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"\nLogs and files stay in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)  # a task process may still be dying in it


@contextmanager
def _started(folder: Path) -> Iterator[_System]:
    """A system with its data in `folder`, stopped at the end; whatever it has to say goes to standard error."""
    data = folder / "data"
    _title("Start etcd, queue, propeller, executor and admin")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "services.standalone", "--port", "0", "--data-dir", str(data)],
        stdout=subprocess.DEVNULL,
    )
    try:
        began = time.monotonic()
        state = _ready(process, data / "run.json")
        for name, child in sorted(state["processes"].items()):
            print(f"  {name:<10} process {child['pid']:<8} {child['address']}")
        print(f"  ready after {time.monotonic() - began:.1f} s")
        yield _System(state["endpoint"], state["config"], Path(state["task_python"]))
    except BaseException:
        _stop(process)
        raise
    _title("Stop")
    if (code := _stop(process)) != 0:
        raise UsageError(f"the system ended with exit code {code}")


def _ready(process: subprocess.Popen[bytes], run_file: Path) -> dict[str, Any]:
    """What the system says of itself once it is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UsageError("the system could not start")  # it has said why
        state: dict[str, Any] = json.loads(run_file.read_text()) if run_file.exists() else {}
        if state.get("ready"):
            return state
        time.sleep(0.05)
    raise UsageError(f"the system was not ready within {READY_SECONDS:.0f} s")


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Ends the system in its order; killed if it takes too long, and its processes with it. Returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _title(text: str) -> None:
    print(f"\n── {text}", flush=True)
