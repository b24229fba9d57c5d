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

from tests.support.smalltasks import Registrar
from tests.support.system import System

pytestmark = pytest.mark.timeout(180)

AIRSCREW = str(Path(sys.executable).with_name("airscrew"))
SAY = ["sh", "-c", "echo one; sleep $0; echo two; exit $1"]


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
def task(registrar: Registrar) -> Callable[..., identifier.Identifier]:
    """Registers a task that says one thing, waits, says another and ends with an exit code."""

    def register(seconds: float = 0.0, exit_code: int = 0) -> identifier.Identifier:
        return registrar.task(fresh("says"), [*SAY, str(seconds), str(exit_code)])

    return register


def test_a_run_is_watched_to_its_end_and_shown_as_a_tree(
    airscrew: Airscrew, registrar: Registrar, task: Callable[..., identifier.Identifier]
) -> None:
    plan = registrar.lanes(fresh("lanes"), task(0.2), lanes=2, length=2)
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


def test_a_run_that_fails_is_exit_code_1_with_the_reason(
    airscrew: Airscrew, registrar: Registrar, task: Callable[..., identifier.Identifier]
) -> None:
    plan = registrar.lanes(fresh("fails"), task(exit_code=3), lanes=1)
    name = registrar.launch(plan).name

    watched = airscrew("watch", name, code=1)
    assert f"{name:<20} FAILED" in watched
    assert "FAILED" in airscrew("get", "execution", name)


def test_logs_are_followed_while_the_task_runs(
    airscrew: Airscrew, registrar: Registrar, task: Callable[..., identifier.Identifier]
) -> None:
    name = registrar.launch(registrar.lanes(fresh("logs"), task(2.0), lanes=1)).name
    until(lambda: any(node["phase"] == "RUNNING" for node in airscrew.json("get", "execution", name)["nodes"]))

    assert airscrew("logs", "-f", f"{name}/a0").splitlines() == ["one", "two"]
    assert airscrew("logs", f"{name}/a0/0").splitlines() == ["one", "two"]


def test_an_abort_ends_the_execution_and_its_task(
    airscrew: Airscrew, registrar: Registrar, task: Callable[..., identifier.Identifier]
) -> None:
    name = registrar.launch(registrar.lanes(fresh("long"), task(120.0), lanes=1)).name
    until(lambda: any(node["phase"] == "RUNNING" for node in airscrew.json("get", "execution", name)["nodes"]))

    airscrew("abort", name, "--reason", "seen enough")
    watched = airscrew("watch", name, code=1)

    assert "ABORTED" in watched
    assert "seen enough" in watched
    assert airscrew.json("get", "execution", name)["nodes"][-1]["attempts"][0]["phase"] == "ABORTED"


def test_latest_is_what_was_submitted_last(
    airscrew: Airscrew, registrar: Registrar, task: Callable[..., identifier.Identifier]
) -> None:
    plan = registrar.lanes(fresh("latest"), task(), lanes=1)
    alone = Registrar(registrar.stubs, project=registrar.project, domain="staging")
    name = alone.launch(plan).name

    assert airscrew.json("get", "execution", "@latest", "-d", "staging")["name"] == name
    airscrew("watch", "@latest", "-d", "staging")
