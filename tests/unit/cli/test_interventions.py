"""Commands that change what an execution does, or run it once more; and what people see of what it waits for."""

from __future__ import annotations

import json

import pytest
from flyteidl.admin import execution_pb2, signal_pb2
from flyteidl.core import identifier_pb2, types_pb2

from libs.workflow.phases import ExecutionPhase, NodePhase
from protos import airscrew_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin, execution, node


def waiting(name: str, simple: types_pb2.SimpleType) -> signal_pb2.Signal:
    return signal_pb2.Signal(
        id=identifier_pb2.SignalIdentifier(signal_id=name), type=types_pb2.LiteralType(simple=simple)
    )


def test_a_signal_is_given_as_a_value_of_its_type(airscrew: Command, admin: FakeAdmin) -> None:
    admin.signals["abc"] = [waiting("count", types_pb2.INTEGER)]
    ran = airscrew("signal", "abc", "count", "3")

    assert (ran.code, ran.out) == (0, "count of flytesnacks:development:abc is given\n")
    (request,) = admin.given
    assert (request.id.execution_id.name, request.id.signal_id) == ("abc", "count")
    assert request.value.scalar.primitive.integer == 3


def test_a_signal_that_nobody_waits_for_or_of_another_type_is_not_given(airscrew: Command, admin: FakeAdmin) -> None:
    admin.signals["abc"] = [waiting("count", types_pb2.INTEGER)]

    assert "no gate of execution flytesnacks:development:abc waits for" in airscrew("signal", "abc", "size", "3").err
    assert airscrew("signal", "abc", "count", "three").err == "airscrew: 'three' is not INTEGER\n"
    assert admin.given == []


@pytest.mark.parametrize(("options", "answer"), [((), True), (("--reject",), False)])
def test_an_approval_is_a_signal_that_says_yes_or_no(
    options: tuple[str, ...], answer: bool, airscrew: Command, admin: FakeAdmin
) -> None:
    assert airscrew("approve", "abc", "ship", *options).code == 0
    (request,) = admin.given
    assert request.id.signal_id == "ship"
    assert request.value.scalar.primitive.boolean is answer
    assert request.value.scalar.primitive.WhichOneof("value") == "boolean"


def test_signals_are_listed_with_their_types_and_values(airscrew: Command, admin: FakeAdmin) -> None:
    given = waiting("count", types_pb2.INTEGER)
    given.value.scalar.primitive.integer = 3
    admin.signals["abc"] = [given, waiting("ship", types_pb2.BOOLEAN)]
    lines = [line.split() for line in airscrew("get", "signals", "abc").out.splitlines()]

    assert [line[:3] for line in lines] == [
        ["SIGNAL", "TYPE", "VALUE"],
        ["count", "INTEGER", "scalar"],
        ["ship", "BOOLEAN", "waits"],
    ]
    shown = json.loads(airscrew("get", "signals", "abc", "-o", "json").out)
    assert shown[1] == {"signal": "ship", "node": None, "type": "BOOLEAN", "value": None}


def test_what_ran_runs_once_more_under_a_new_name(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executions = [execution("abc", ExecutionPhase.FAILED)]

    assert airscrew("relaunch", "@latest", "--overwrite-cache").out == "made-up\n"
    assert airscrew("recover", "abc", "--name", "second").out == "second\n"
    relaunched, recovered = admin.again
    assert isinstance(relaunched, execution_pb2.ExecutionRelaunchRequest)
    assert (relaunched.id.name, relaunched.name, relaunched.overwrite_cache) == ("abc", "", True)
    assert isinstance(recovered, execution_pb2.ExecutionRecoverRequest)
    assert (recovered.id.name, recovered.name) == ("abc", "second")


def test_cached_results_are_evicted_by_task_execution_or_node(airscrew: Command, admin: FakeAdmin) -> None:
    assert airscrew("cache", "evict", "--task", "t", "--version", "v").out == "2 cached results evicted\n"
    assert airscrew("cache", "evict", "abc").code == 0
    assert airscrew("cache", "evict", "p:d:abc/n0-0-n1").code == 0
    task, whole, one = admin.evictions
    assert (task.task.project, task.task.name, task.task.version) == ("flytesnacks", "t", "v")
    assert (whole.made.execution_id.name, whole.made.node_id) == ("abc", "")
    assert (one.made.execution_id.project, one.made.node_id) == ("p", "n0-0-n1")


@pytest.mark.parametrize("arguments", [(), ("abc", "--task", "t")])
def test_an_eviction_says_whose_results(arguments: tuple[str, ...], airscrew: Command, admin: FakeAdmin) -> None:
    assert airscrew("cache", "evict", *arguments).code == 2
    assert admin.evictions == []


def test_a_tree_counts_items_and_names_children_and_says_what_is_waited_for(
    airscrew: Command, admin: FakeAdmin
) -> None:
    array = airscrew_pb2.GetTreeReply.Node(
        node=node("n0", NodePhase.RUNNING), kind="array", size=100_000, items={"SUCCEEDED": 7, "FAILED": 1}
    )
    child = airscrew_pb2.GetTreeReply.Node(node=node("n1", NodePhase.RUNNING), kind="launch_plan")
    child.child.name = "achild"
    recovered = airscrew_pb2.GetTreeReply.Node(
        node=node("n2", NodePhase.SUCCEEDED), kind="task", task="t", phase="RECOVERED", cache="HIT"
    )
    ship = airscrew_pb2.GetTreeReply.Signal(signal=waiting("ship", types_pb2.BOOLEAN), node_id="n3")
    admin.trees["abc"] = airscrew_pb2.GetTreeReply(
        execution=execution("abc", ExecutionPhase.RUNNING),
        nodes=[array, child, recovered],
        signals=[ship],
        launched=[execution("eager", ExecutionPhase.QUEUED)],
    )
    out = airscrew("get", "execution", "abc").out

    assert "100000 items: 7 SUCCEEDED, 1 FAILED" in out
    assert "execution achild" in out
    assert "RECOVERED" in out
    assert "cache hit" in out
    assert "waits for signal ship (BOOLEAN): airscrew approve abc ship" in out
    assert "launched eager  examples.wf  QUEUED" in out
    shown = json.loads(airscrew("get", "execution", "abc", "-o", "json").out)
    assert shown["nodes"][0]["items"] == {"SUCCEEDED": 7, "FAILED": 1}
    assert shown["nodes"][1]["child"] == ":".join(("", "", "achild"))
    assert shown["signals"][0]["node"] == "n3"


def test_a_watch_tells_of_an_array_and_its_first_failed_items_only(airscrew: Command, admin: FakeAdmin) -> None:
    array = node("n0", NodePhase.RUNNING)
    array.metadata.is_array = True
    items = [node(f"n0-0-n{index}", NodePhase.FAILED if index % 2 else NodePhase.SUCCEEDED, 1) for index in range(100)]
    admin.watches["abc"] = [
        [
            airscrew_pb2.WatchExecutionReply(nodes=[array, *items, node("n0x", NodePhase.RUNNING)]),
            airscrew_pb2.WatchExecutionReply(execution=execution("abc", ExecutionPhase.FAILED)),
        ]
    ]
    told = [line.split()[0] for line in airscrew("watch", "abc").out.splitlines()]

    assert told == ["n0", *(f"n0-0-n{index}" for index in range(1, 20, 2)), "n0x", "abc"]
