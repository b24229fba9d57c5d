"""A system that keeps nothing for long, as a user sees it: what goes, what stays, and what is said of both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import execution_pb2 as execution

from tests.support import executions, flyte, smalltasks
from tests.support.markers import Markers
from tests.support.system import System

pytestmark = pytest.mark.timeout(180)

AIRSCREW = str(Path(sys.executable).with_name("airscrew"))


def airscrew(system: System, *arguments: str) -> Any:
    command = [AIRSCREW, *arguments, "--endpoint", system.endpoint, "-o", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def test_what_ended_goes_with_all_that_it_had_and_its_name_stays_taken(tmp_path: Path) -> None:
    environment = {
        **smalltasks.settings(tmp_path / "tasks", slots=4),
        "AIRSCREW_PROPELLER_RETENTION_DAYS": "*=0.00001",  # 0.9 s
        "AIRSCREW_PROPELLER_COLLECT_DELAY_SECONDS": "0",
        "AIRSCREW_PROPELLER_COLLECT_EVERY_SECONDS": "3600",
    }
    markers = Markers(tmp_path / "marks.jsonl")
    with (
        System.start(tmp_path, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = smalltasks.Registrar(stubs)
        short = registrar.lanes("short", registrar.marking_task("short", markers.path, 0.0), lanes=2, length=2)
        endless = registrar.lanes("endless", registrar.marking_task("endless", markers.path, 120.0), lanes=1)
        gone, needed = registrar.launch(short, "gone"), registrar.launch(endless, "needed")
        executions.succeed(registrar, gone)
        markers.wait(lambda: len(markers.starts("needed")) == 1)
        registrar.abort(needed, "for the sake of recovering it")
        executions.end(registrar, needed)
        recovering = stubs.admin.RecoverExecution(
            execution.ExecutionRecoverRequest(id=needed, name="recovering"), timeout=10
        ).id
        markers.wait(lambda: len(markers.starts("recovering")) == 1)
        assert list(tmp_path.rglob("*-development-gone"))

        (seen,) = airscrew(system, "gc", "preview", "--days", "0")
        assert (seen["heads"], seen["executions"], seen["held"], seen["measured"]) == (1, 1, 1, 1)
        assert seen["blobs"] > 0
        assert executions.text(registrar.get(gone).id) == executions.text(gone), "a preview changes nothing"

        removed = 0
        deadline = time.monotonic() + 30
        while removed == 0:
            assert time.monotonic() < deadline
            (shard,) = airscrew(system, "gc", "run")
            removed = shard["last"]["executions"]
        assert (removed, shard["last"]["trouble"], shard["marked"], shard["condemned"]) == (1, "", 0, 0)
        assert shard["last"]["blobs"] == seen["blobs"]

        with pytest.raises(grpc.RpcError) as failure:
            registrar.get(gone)
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        assert "was removed by the garbage collector on " in failure.value.details()
        with pytest.raises(grpc.RpcError) as failure:
            registrar.launch(short, "gone")
        assert failure.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert "its name stays taken" in failure.value.details()
        assert not list(tmp_path.rglob("*-development-gone"))
        names = {each["name"] for each in airscrew(system, "get", "executions")}
        assert names == {"needed", "recovering"}
        registrar.abort(recovering, "seen enough")
