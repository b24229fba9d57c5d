"""SIGTERM to one service after the other while 200 workflows run: nothing is lost, nothing runs twice, each
ends in order, and a client that repeats what could not be answered never sees an error.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.core import identifier_pb2 as identifier

from tests.support import executions, flyte, smalltasks
from tests.support.markers import Markers
from tests.support.smalltasks import Registrar
from tests.support.system import System

WORKFLOWS = 200
LENGTH = 2

pytestmark = pytest.mark.timeout(200)


def test_stopping_any_service_under_load_loses_nothing_and_is_no_error(tmp_path: Path) -> None:
    markers = Markers(tmp_path / "marks")
    environment = smalltasks.settings(tmp_path / "environment", slots=16)
    # All that a task takes fits into the grace, so what was started ends.
    with (
        System.start(tmp_path / "system", executors=2, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = Registrar(stubs)
        task = registrar.marking_task("short", markers.path, seconds=0.1)
        plan = registrar.lanes("short", task, lanes=1, length=LENGTH)
        launched = []
        for number in range(WORKFLOWS):
            launched.append(_launch(registrar, plan, f"under-load-{number}"))
            if number % 40 == 30:
                service = ("executor", "queue", "propeller", "admin", "executor-2")[number // 40]
                system.kill(service, signal.SIGTERM)
                system.wait_until(
                    lambda _, service=service: f"{service} ended with exit code 0" in system.logs("standalone"),  # type: ignore[misc]
                    20,
                    f"{service} did not end in order",
                )
        ended = executions.succeed(registrar, *launched, timeout_seconds=90)
        assert len(ended) == WORKFLOWS
        assert markers.started_twice() == []
        assert len(markers.starts()) == len(markers.ends()) == WORKFLOWS * LENGTH


def test_an_executor_is_emptied_by_command_and_the_other_one_goes_on(tmp_path: Path) -> None:
    markers = Markers(tmp_path / "marks")
    environment = smalltasks.settings(tmp_path / "environment", slots=1)
    with (
        System.start(tmp_path / "system", executors=2, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = Registrar(stubs)
        # So long that no machine is too slow to come before its end.
        long = registrar.launch(registrar.marking_task("long", markers.path, seconds=600), "long")
        markers.wait(lambda: len(markers.starts()) == 1)
        [busy] = [each["executor"] for each in _airscrew(system, "list") if each["attempts"]]
        _airscrew(system, "drain", busy, "--deadline", "1s")
        markers.wait(lambda: len(markers.starts()) == 2)
        assert [start.attempt for start in markers.starts()] == [0, 1]
        states = {each["executor"]: (each["state"], each["attempts"]) for each in _airscrew(system, "list")}
        assert states.pop(busy) == ("drained", 0) and list(states.values()) == [("ready", 1)]
        registrar.abort(long, "seen enough")
        assert executions.end(registrar, long).closure.phase == executions.ABORTED
        assert markers.ends() == []


def _airscrew(system: System, *arguments: str) -> Any:
    command = [str(Path(sys.executable).with_name("airscrew")), "executors", *arguments]
    command += ["--endpoint", system.endpoint, "-o", "json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def _launch(registrar: Registrar, plan: identifier.Identifier, name: str) -> identifier.WorkflowExecutionIdentifier:
    """As a client does that repeats what was not answered: what it has sent before is there already."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return registrar.launch(plan, name)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return registrar.execution_id(name)
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
            assert time.monotonic() < deadline, error
            time.sleep(0.1)
