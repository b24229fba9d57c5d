"""`airscrew chaos kill-leader` on real systems: a process dies, another one leads, and no task is run twice."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import executions, flyte, smalltasks
from tests.support.markers import Markers
from tests.support.smalltasks import Registrar
from tests.support.system import System

LANES = 6
LENGTH = 3
SLOTS = 3
"""Fewer than lanes, so that there is something to commit whenever a leader begins."""

pytestmark = pytest.mark.timeout(200)


@pytest.mark.parametrize("propellers", [1, 2])
def test_a_killed_leader_is_succeeded_under_load_and_the_take_over_is_told(
    tmp_path: Path, request: pytest.FixtureRequest, propellers: int
) -> None:
    markers = Markers(tmp_path / "marks")
    environment = smalltasks.settings(tmp_path / "environment", slots=SLOTS)
    environment["AIRSCREW_PROPELLER_LEASE_TTL_SECONDS"] = "3"
    database = request.getfixturevalue("postgres_url") if propellers > 1 else None
    with (
        System.start(tmp_path / "system", database=database, propellers=propellers, environment=environment) as system,
        flyte.Client(system.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = Registrar(stubs)
        task = registrar.marking_task("short", markers.path, seconds=0.5)
        launched = registrar.launch(registrar.lanes("short", task, lanes=LANES, length=LENGTH), "load")
        markers.wait(lambda: len(markers.starts()) >= SLOTS)
        before = _pids(system)

        steps = _kill_leader(system)

        after = _pids(system)
        assert sum(after[name] != pid for name, pid in before.items()) == 1, "one process was killed, and is back"
        assert [step["what"] for step in steps[:2]] == ["killed", "claimed"]
        assert {step["what"] for step in steps[2:]} == {"committed", "warm"}
        assert all(earlier["seconds"] <= later["seconds"] for earlier, later in pairwise(steps))
        killed, claimed = steps[:2]
        assert killed["seconds"] == 0 and killed["epoch"] < claimed["epoch"]
        assert {step["shard"] for step in steps} == {0}
        executions.succeed(registrar, launched)
        assert markers.started_twice() == []
        assert len(markers.starts()) == len(markers.ends()) == LANES * LENGTH


def _pids(system: System) -> dict[str, int]:
    """Of the propellers, each of which runs."""
    system.wait_until(
        lambda state: all(process["state"] == "ready" for process in state["processes"].values()),
        60,
        "not all processes are ready",
    )
    return {name: system.pid(name) for name in system.state()["processes"] if name.startswith("propeller")}


def _kill_leader(system: System) -> list[dict[str, Any]]:
    command = [str(Path(sys.executable).with_name("airscrew")), "chaos", "kill-leader", "--yes"]
    command += ["--endpoint", system.endpoint, "-o", "json"]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=90, text=True)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]
