"""Work that is under way when the system stops, or when one of two propellers dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from flyteidl.admin import execution_pb2

from tests.support import executions, flyte, smalltasks
from tests.support.markers import Markers, alive
from tests.support.postgres import PostgresServer
from tests.support.system import System

pytestmark = pytest.mark.timeout(180)


def test_a_second_start_continues_what_was_running(tmp_path: Path) -> None:
    environment = smalltasks.settings(tmp_path / "tasks", slots=8)
    markers = Markers(tmp_path / "marks.jsonl")
    with (
        System.start(tmp_path, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = smalltasks.Registrar(stubs)
        short = registrar.lanes("short", registrar.marking_task("short", markers.path, 1.0), lanes=2, length=4)
        endless = registrar.marking_task("endless", markers.path, 120.0)
        stopped = registrar.launch(short, "stopped")
        aborted = registrar.launch(registrar.lanes("endless", endless, lanes=1), "aborted")
        markers.wait(lambda: len(markers.starts("stopped")) >= 4 and len(markers.starts("aborted")) == 1)
        assert system.stop() == 0
        assert not markers.ends("aborted"), "what runs too long is not waited for"

    with (
        System.start(tmp_path, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = smalltasks.Registrar(stubs)
        executions.succeed(registrar, stopped)
        markers.wait(lambda: len(markers.starts("aborted")) == 2)  # its first attempt was killed with the executor
        stubs.admin.TerminateExecution(
            execution_pb2.ExecutionTerminateRequest(id=aborted, cause="seen enough"), timeout=10
        )
        assert executions.end(registrar, aborted).closure.phase == executions.ABORTED

    assert markers.started_twice() == []


def test_a_second_signal_stops_at_once_and_loses_nothing(tmp_path: Path) -> None:
    environment = smalltasks.settings(tmp_path / "tasks", slots=8)
    markers = Markers(tmp_path / "marks.jsonl")
    with (
        System.start(tmp_path, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = smalltasks.Registrar(stubs)
        task = registrar.marking_task("long", markers.path, 5.0)
        running = registrar.launch(registrar.lanes("long", task, lanes=2), "running")
        markers.wait(lambda: len(markers.starts("running")) == 2)
        tasks = [mark.pid for mark in markers.starts("running")]

        os.kill(system.state()["pid"], signal.SIGINT)
        # Two signals at the same time are one.
        markers.wait(lambda: "Ctrl-C again stops at once" in system.logs("standalone"))
        assert system.stop() == 0
        assert len(markers.ends("running")) == 0, "nothing was waited for"
        markers.wait(lambda: not any(map(alive, tasks)), timeout_seconds=2.0)

    with (
        System.start(tmp_path, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        executions.succeed(smalltasks.Registrar(stubs), running)
    assert markers.started_twice() == []


def test_with_postgresql_a_second_propeller_takes_over(tmp_path: Path, postgres_server: PostgresServer) -> None:
    environment = {
        **smalltasks.settings(tmp_path / "tasks", slots=8),
        "AIRSCREW_PROPELLER_LEASE_TTL_SECONDS": "2",
    }
    markers = Markers(tmp_path / "marks.jsonl")
    url = postgres_server.create_database()
    with (
        System.start(tmp_path, database=url, propellers=2, executors=2, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = smalltasks.Registrar(stubs)
        task = registrar.marking_task("short", markers.path, 0.5)
        running = registrar.launch(registrar.lanes("short", task, lanes=4, length=6), "running")
        markers.wait(lambda: len(markers.ends("running")) >= 4)

        leads = [name for name in ("propeller", "propeller-2") if "leading shard 0" in system.logs(name)]
        assert len(leads) == 1
        system.kill(leads[0])

        executions.succeed(registrar, running)
    assert markers.started_twice() == []
    assert len(markers.starts("running")) == 24
