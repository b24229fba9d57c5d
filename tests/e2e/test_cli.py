"""`airscrew` against the real system: what a user sees of executions that run, fail and are aborted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2 as identifier

from tests.support import flyte
from tests.support.markers import Markers
from tests.support.smalltasks import Registrar
from tests.support.system import System

pytestmark = pytest.mark.timeout(180)

AIRSCREW = str(Path(sys.executable).with_name("airscrew"))
TALKING = """
import os
import time
from flytekit import task, workflow

@task
def talk(listener: str, luck: bool):
    print("one", flush=True)
    while listener and not os.path.exists(listener):
        time.sleep(0.1)
    print("two", flush=True)
    if not luck:
        raise ValueError("bad luck")

@workflow
def talking(listener: str, luck: bool):
    talk(listener=listener, luck=luck)
"""

TOO_LARGE = """
from flytekit import Resources, task, workflow

@task(requests=Resources(cpu="64000", mem="100Mi"))
def greedy() -> int:
    return 1

@workflow
def large() -> int:
    return greedy()
"""


class Airscrew:
    """Runs the command as a process of its own."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __call__(self, *arguments: str, code: int = 0) -> str:
        ran = subprocess.run(
            [AIRSCREW, *arguments, "--endpoint", self._endpoint],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """Does not wait for its end."""
        command = [AIRSCREW, *arguments, "--endpoint", self._endpoint]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@pytest.fixture
def airscrew(system: System) -> Airscrew:
    return Airscrew(system.endpoint)


def fresh(name: str) -> str:
    return f"{name}-{time.time_ns()}"


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


@pytest.fixture
def sleeps(registrar: Registrar, markers: Markers) -> Callable[[float], identifier.Identifier]:
    """Registers a task that does nothing for some seconds."""
    return lambda seconds: registrar.marking_task(fresh("sleeps"), markers.path, seconds)


@pytest.fixture
def talks(client: flyte.Client, tmp_path: Path) -> Callable[..., str]:
    """Runs `TALKING` by `pyflyte` and returns the name of the execution. It waits for `listener`, a file, to exist."""
    file = tmp_path / "talking.py"
    file.write_text(TALKING)

    def run(listener: str = "", luck: bool = True) -> str:
        name = fresh("talk")
        lucky = "--luck" if luck else "--no-luck"
        ran = client.pyflyte("run", "--remote", "--name", name, str(file), "talking", "--listener", listener, lucky)
        assert ran.returncode == 0, ran.stdout
        return name

    return run


def test_a_run_is_watched_to_its_end_and_shown_as_a_tree(
    airscrew: Airscrew, registrar: Registrar, sleeps: Callable[[float], identifier.Identifier]
) -> None:
    plan = registrar.lanes(fresh("lanes"), sleeps(0.2), lanes=2, length=2)
    name = registrar.launch(plan).name

    lines = airscrew("watch", name).splitlines()
    assert lines[-1].split()[:2] == [name, "SUCCEEDED"]
    assert {line.split()[0] for line in lines if "SUCCEEDED" in line} == {"a0", "a1", "b0", "b1", name}

    shown = airscrew.json("get", "execution", name)
    assert shown["phase"] == "SUCCEEDED"
    assert len(shown["trace_id"]) == 32
    nodes = {node["id"]: node for node in shown["nodes"]}
    assert nodes["b0"]["attempts"][0]["phase"] == "SUCCEEDED"
    assert nodes["a0"]["ended_at"] <= nodes["b0"]["ended_at"]
    assert name in airscrew("get", "execution", f"flytesnacks:development:{name}")

    listed = airscrew.json("get", "executions", "--phase", "succeeded", "--limit", "1000")
    assert name in {execution["name"] for execution in listed}


def test_a_run_that_fails_is_exit_code_1_with_the_reason(airscrew: Airscrew, talks: Callable[..., str]) -> None:
    name = talks(luck=False)

    watched = airscrew("watch", name, code=1)
    assert any(line.split()[:2] == [name, "FAILED"] and "bad luck" in line for line in watched.splitlines())
    shown = airscrew("get", "execution", name)
    assert "ValueError: bad luck" in shown
    assert airscrew.json("get", "execution", name)["nodes"][-1]["attempts"][-1]["phase"] == "FAILED"


def test_logs_are_followed_while_the_task_runs(airscrew: Airscrew, talks: Callable[..., str], tmp_path: Path) -> None:
    listener = tmp_path / "listener"
    name = talks(listener=str(listener))

    with airscrew.started("logs", "-f", f"{name}/n0") as following:
        assert following.stdout is not None
        followed = []
        for line in following.stdout:
            followed.append(line.rstrip("\n"))
            if followed[-1] == "one":
                listener.touch()  # only now may the task go on
    assert following.returncode == 0
    assert [line for line in followed if line in ("one", "two")] == ["one", "two"]
    assert airscrew("logs", f"{name}/n0/0").splitlines() == followed


def test_an_abort_ends_the_execution_and_its_task(
    airscrew: Airscrew, registrar: Registrar, sleeps: Callable[[float], identifier.Identifier]
) -> None:
    name = registrar.launch(registrar.lanes(fresh("long"), sleeps(120.0), lanes=1)).name
    until(lambda: any(node["phase"] == "RUNNING" for node in airscrew.json("get", "execution", name)["nodes"]))

    airscrew("abort", name, "--reason", "seen enough")
    watched = airscrew("watch", name, code=1)

    assert "ABORTED" in watched
    assert "seen enough" in watched
    assert airscrew.json("get", "execution", name)["nodes"][-1]["attempts"][0]["phase"] == "ABORTED"


def test_latest_is_what_was_submitted_last(
    airscrew: Airscrew, registrar: Registrar, sleeps: Callable[[float], identifier.Identifier]
) -> None:
    plan = registrar.lanes(fresh("latest"), sleeps(0.0), lanes=1)
    alone = Registrar(registrar.stubs, project=registrar.project, domain="staging")
    name = alone.launch(plan).name

    assert airscrew.json("get", "execution", "@latest", "-d", "staging")["name"] == name
    airscrew("watch", "@latest", "-d", "staging")


def test_a_task_that_no_executor_is_large_enough_for_says_so_within_seconds(
    airscrew: Airscrew, client: flyte.Client, tmp_path: Path
) -> None:
    file, name = tmp_path / "large.py", fresh("large")
    file.write_text(TOO_LARGE)
    ran = client.pyflyte("run", "--remote", "--name", name, str(file), "large")
    assert ran.returncode == 0, ran.stdout
    until(lambda: "no connected executor is as large" in airscrew("explain", name), seconds=10)

    found = airscrew.json("explain", f"{name}/n0")
    assert (found["phase"], found["live"], found["causes"][0]["code"]) == ("QUEUED", True, "NO_FITTING_EXECUTOR")
    assert found["causes"][0]["facts"]["asked"] == "64000 cpu, 100Mi memory"
    until(lambda: "AttemptWaits" in airscrew("events", f"{name}/n0"), seconds=10)

    airscrew("abort", name)
    assert "ABORTED" in airscrew("watch", name, code=1)
    assert "it was aborted" in airscrew("explain", name)
