"""`kill -9` of the propeller and of the executor while tasks run: nothing is lost and nothing runs twice.

What ran is known from marks that the task processes write themselves (`tests/support/markers`), not from what the
engine says. The moments of the kills follow from a printed seed. They are tied to what happens, not to the clock,
because the dangerous ones are microseconds wide: just after a commit (before the dispatch that follows it), just after
a task has started, and just after one has ended (before its report is committed or acknowledged).
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import common_pb2 as common
from flyteidl.admin import task_execution_pb2 as task_execution
from flyteidl.core import execution_pb2 as phases
from flyteidl.core import identifier_pb2 as identifier
from flyteidl.core import interface_pb2 as interface
from flyteidl.core import workflow_pb2 as workflow

from libs.store.schema import ATTEMPT_IS_FINAL
from libs.workflow.intake import Kind
from tests.support import executions, markers, otlp, smalltasks
from tests.support.flytetypes import INTEGER
from tests.support.intakes import KEY, push
from tests.support.markers import Markers
from tests.support.redis import RedisServer
from tests.support.smalltasks import Registrar
from tests.support.system import System

SEED = 1968
MOMENTS = 20
LANES = 20
LENGTH = 2
ITEMS = 100

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Moment:
    """When to kill: `delay` seconds after the `count`-th occurrence of something in an execution of 40 tasks."""

    what: str
    count: int
    delay: float


def moments(seed: int) -> Iterator[Moment]:
    """Commits twice as often as the others: a kill between commit and dispatch is the one to be feared."""
    dice = random.Random(seed)
    for number in range(MOMENTS):
        what = ("commit", "start", "commit", "end")[number % 4]
        count = dice.randint(2, 12 if what == "commit" else LANES * LENGTH - 5)
        yield Moment(what, count, dice.choice((0.0, 0.0, dice.uniform(0.0, 0.05))))


class Observer:
    """Counts commits, starts and ends since it was made, from outside the engine."""

    def __init__(self, system: System, marks: Markers) -> None:
        self._marks = marks.path
        self._read = self._marks.stat().st_size if self._marks.exists() else 0
        self._seen = Counter[str]()
        self._database = sqlite3.connect(f"file:{system.database_file}?mode=ro", uri=True)
        self._version = self._data_version()

    def close(self) -> None:
        self._database.close()

    def wait(self, moment: Moment, timeout_seconds: float = 20.0) -> None:
        """Returns when the moment has come; AssertionError when it never does."""
        deadline = time.monotonic() + timeout_seconds
        while self._look()[moment.what] < moment.count:
            assert time.monotonic() < deadline, f"{moment} did not come"
            time.sleep(0.0002)
        time.sleep(moment.delay)

    def placed(self, execution: str) -> dict[str, bool]:
        """Nodes with a committed placement, and whether the end of the attempt is committed too."""
        rows = self._database.execute(
            f"SELECT node_id, {ATTEMPT_IS_FINAL} FROM attempts"
            " WHERE executor IS NOT NULL AND execution_key = (SELECT key FROM executions WHERE name = ?)",
            (execution,),
        )
        return {node: bool(final) for node, final in rows}

    def _look(self) -> Counter[str]:
        version = self._data_version()
        self._seen["commit"] += version != self._version
        self._version = version
        if self._marks.exists():
            with self._marks.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            for what in ("start", "end"):
                self._seen[what] += new.count(f'"event": "{what}"'.encode())
        return self._seen

    def _data_version(self) -> int:
        """Changes with every commit of another connection, whatever it wrote."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])


@pytest.fixture(scope="module")
def lanes(fragile: Registrar, fragile_markers: Markers) -> identifier.Identifier:
    task = fragile.marking_task("lane", fragile_markers.path, seconds=0.15)
    return fragile.lanes("lanes", task, lanes=LANES, length=LENGTH)


def test_every_attempt_starts_once_although_the_propeller_is_killed_again_and_again(
    fragile_system: System, fragile: Registrar, fragile_markers: Markers, lanes: identifier.Identifier
) -> None:
    print(f"seed {SEED}")
    undispatched = unacknowledged = 0
    for number, moment in enumerate(moments(SEED)):
        with closing(Observer(fragile_system, fragile_markers)) as observer:
            launched = fragile.launch(lanes, f"killed-{number}")
            observer.wait(moment)
            fragile_system.kill("propeller")
            killed_at = time.time()
            placed = observer.placed(launched.name)
        executions.succeed(fragile, launched, timeout_seconds=60)

        starts = fragile_markers.starts(launched.name)
        told = f"round {number}, {moment}"
        assert fragile_markers.started_twice(launched.name) == [], told
        assert len(starts) == len(fragile_markers.ends(launched.name)) == LANES * LENGTH, told
        assert {start.attempt for start in starts} == {0}, f"{told}: no executor was lost, so no attempt may be"

        # An executor starts what it is given within milliseconds: what starts much later came from the next leader.
        undispatched += sum(start.node in placed and start.at > killed_at + 0.5 for start in starts)
        ends = [end for end in fragile_markers.ends(launched.name) if end.at < killed_at]
        unacknowledged += sum(not placed[end.node] for end in ends)
        print(f"{told}: so far {undispatched} undispatched, {unacknowledged} unacknowledged")
    assert undispatched, "no kill fell between a commit and its dispatch"
    assert unacknowledged, "no kill fell between a report and its acknowledgement"


def test_tasks_die_with_their_executor_and_are_retried_as_system(
    fragile_system: System, fragile: Registrar, fragile_markers: Markers
) -> None:
    task = fragile.marking_task("orphaned", fragile_markers.path, seconds=4, children=1)
    launched = fragile.launch(fragile.lanes("orphaned", task, lanes=4), "orphaned")
    fragile_markers.wait(lambda: len(fragile_markers.starts(launched.name)) == 4)
    first = fragile_markers.starts(launched.name)

    fragile_system.kill("executor")

    pids = [pid for start in first for pid in (start.pid, *start.children)]
    fragile_markers.wait(lambda: not any(markers.alive(pid) for pid in pids), timeout_seconds=1)
    executions.succeed(fragile, launched, timeout_seconds=60)
    assert fragile_markers.started_twice(launched.name) == []
    assert sorted(start.attempt for start in fragile_markers.starts(launched.name)) == [0] * 4 + [1] * 4
    assert {mark.attempt for mark in fragile_markers.ends(launched.name)} == {1}
    for node in ("a0", "a1", "a2", "a3"):
        lost, second = _attempts(fragile, launched, node)
        assert lost.closure.phase == phases.TaskExecution.FAILED
        assert lost.closure.error.kind == phases.ExecutionError.SYSTEM
        assert second.closure.phase == phases.TaskExecution.SUCCEEDED


def test_losing_the_queue_loses_no_work(
    fragile_system: System, fragile: Registrar, fragile_markers: Markers, lanes: identifier.Identifier
) -> None:
    before = fragile.launch(lanes, "before-the-loss")
    fragile_system.kill("queue")
    during = fragile.launch(lanes, "during-the-loss")

    executions.succeed(fragile, before, during, timeout_seconds=60)

    for launched in (before, during):
        assert fragile_markers.started_twice(launched.name) == []
        assert len(fragile_markers.starts(launched.name)) == LANES * LENGTH


def test_a_task_list_is_done_exactly_although_leader_and_queue_and_redis_are_killed(
    fragile_system: System, fragile: Registrar, fragile_markers: Markers, redis_server: RedisServer
) -> None:
    task = fragile.marking_task("item", fragile_markers.path, seconds=0.1)
    node = workflow.Node(id="n0", task_node=workflow.TaskNode(reference_id=task))
    inputs = interface.VariableMap(variables={"x": interface.Variable(type=INTEGER)})
    fragile.workflow("item", [node], inputs=inputs)
    started, ended = len(fragile_markers.starts()), len(fragile_markers.ends())

    def done() -> int:
        return len(fragile_markers.ends()) - ended

    _intake(fragile_system, "add", redis_server.source(KEY), "--launch-plan", "item", "--limit", "20")
    push(redis_server, Kind.LIST, *({"x": x} for x in range(ITEMS)))
    for part, victims in enumerate((("propeller",), ("queue",), ("propeller", "queue", "redis")), start=1):
        fragile_markers.wait(lambda part=part: done() > part * ITEMS // 5)  # type: ignore[misc]
        for victim in victims:
            redis_server.restart() if victim == "redis" else fragile_system.kill(victim)
    fragile_markers.wait(lambda: done() >= ITEMS, timeout_seconds=90)
    deadline = time.monotonic() + 60
    while (standing := _intake(fragile_system, "list")[0])["done"] < ITEMS or standing["pending"]:
        assert time.monotonic() < deadline, standing
    _intake(fragile_system, "remove", KEY)
    assert (standing["done"], standing["dead"]) == (ITEMS, 0)
    mine = fragile_markers.starts()[started:]
    assert len(mine) == len({start.execution for start in mine}) == ITEMS


def _intake(system: System, *arguments: str) -> Any:
    command = [str(Path(sys.executable).with_name("airscrew")), "intake", *arguments]
    command += ["-o", "json", "--endpoint", system.endpoint]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_an_accepted_submission_survives_the_loss_of_admin(
    fragile_system: System, fragile: Registrar, fragile_markers: Markers, lanes: identifier.Identifier
) -> None:
    launched = fragile.launch(lanes, "accepted")
    fragile_system.kill("admin")
    fragile_system.wait_ready("admin")
    executions.succeed(fragile, launched, timeout_seconds=60)
    assert len(fragile_markers.starts(launched.name)) == LANES * LENGTH


def test_without_an_endpoint_no_span_is_sent(
    fragile: Registrar, fragile_markers: Markers, default_collector: otlp.Receiver
) -> None:
    task = fragile.marking_task("untraced", fragile_markers.path, seconds=0)
    executions.succeed(fragile, fragile.launch(task, "untraced"))
    time.sleep(1)
    assert default_collector.spans == []


@pytest.fixture
def default_collector() -> Iterator[otlp.Receiver]:
    """Listens where an exporter without a configured endpoint would send to."""
    try:
        receiver = otlp.Receiver(port=4317)
    except RuntimeError:
        pytest.skip("port 4317 is in use on this machine")
    with receiver:
        yield receiver


def _attempts(
    registrar: smalltasks.Registrar, launched: identifier.WorkflowExecutionIdentifier, node: str
) -> list[task_execution.TaskExecution]:
    id_ = identifier.NodeExecutionIdentifier(execution_id=launched, node_id=node)
    request = task_execution.TaskExecutionListRequest(
        node_execution_id=id_,
        limit=100,
        sort_by=common.Sort(key="created_at", direction=common.Sort.ASCENDING),
    )
    return list(registrar.stubs.admin.ListTaskExecutions(request, timeout=10).task_executions)
