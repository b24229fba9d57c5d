"""A task list in Redis becomes executions of a workflow, by the commands that a user types."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import interface_pb2, workflow_pb2

from libs.workflow.intake import Kind
from tests.support import flyte
from tests.support.flytetypes import INTEGER
from tests.support.intakes import KEY, push
from tests.support.markers import Markers
from tests.support.redis import RedisServer
from tests.support.smalltasks import VERSION, Registrar

pytestmark = pytest.mark.timeout(120)

AIRSCREW = str(Path(sys.executable).with_name("airscrew"))


@pytest.fixture
def airscrew(client: flyte.Client) -> Callable[..., Any]:
    """`airscrew intake … -o json`"""

    def run(*arguments: str) -> Any:
        command = [AIRSCREW, "intake", *arguments, "-o", "json", "--endpoint", client.endpoint]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    return run


def test_a_list_becomes_executions_and_what_is_wrong_waits_for_somebody_to_look(
    airscrew: Callable[..., Any], redis_server: RedisServer, registrar: Registrar, markers: Markers
) -> None:
    plan = f"rows-{time.time_ns()}"
    task = registrar.marking_task(f"{plan}-task", markers.path, 0.0)
    node = workflow_pb2.Node(id="n0", task_node=workflow_pb2.TaskNode(reference_id=task))
    inputs = interface_pb2.VariableMap(variables={"x": interface_pb2.Variable(type=INTEGER)})
    registrar.workflow(plan, [node], inputs=inputs)
    push(redis_server, Kind.LIST, *({"x": x} for x in range(5)), {"x": "many"})

    def standing() -> dict[str, Any]:
        (found,) = [one for one in airscrew("list") if one["name"] == KEY]
        return dict(found)

    def until(**wanted: Any) -> None:
        deadline = time.monotonic() + 40
        while not wanted.items() <= (found := standing()).items():
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    added = airscrew("add", redis_server.source(KEY), "--launch-plan", plan)
    assert added == {"intake": KEY, "launch_plan": plan, "version": VERSION}
    until(state="running", waiting=0, claimed=0, done=5, pending=0, dead=1)

    (dead,) = airscrew("dead", KEY)
    assert dead["content"] == '{"x": "many"}' and "inputs.x" in dead["reason"]
    airscrew("pause", KEY)
    until(state="paused")
    assert airscrew("replay", KEY) == {"intake": KEY, "replayed": 1}
    until(claimed=1, dead=0)
    airscrew("resume", KEY)
    until(claimed=0, dead=1, done=5)
    airscrew("remove", KEY)
    assert all(one["name"] != KEY for one in airscrew("list"))
