"""`airscrew executors` as a user runs it."""

from __future__ import annotations

import json

import pytest

from protos import executor_pb2, propeller_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin


def executor(
    name: str, *, attempts: int = 0, draining: bool = False, connected: bool = True, trouble: str = ""
) -> propeller_pb2.StatusReply.Executor:
    known = propeller_pb2.StatusReply.Executor(
        executor=name, attempts=attempts, draining=draining, connected=connected, trouble=trouble
    )
    known.capacity.CopyFrom(executor_pb2.Resources(cpu_millis=4000, memory_bytes=8 << 30))
    known.used.CopyFrom(executor_pb2.Resources(cpu_millis=1000 * attempts))
    return known


def test_executors_are_listed_with_their_state_and_slots(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executors.known = [
        executor("full", attempts=2),
        executor("emptied", draining=True),
        executor("emptying", draining=True, attempts=1),
        executor("gone", connected=False, trouble="not connected"),
        executor("broken", trouble="the disk is full"),
    ]
    lines = [line.split() for line in airscrew("executors").out.splitlines()]
    assert lines[0] == ["EXECUTOR", "STATE", "ATTEMPTS", "TAKEN", "OF", "TROUBLE"]
    assert [line[:2] for line in lines[1:]] == [
        ["broken", "in"],
        ["emptied", "drained"],
        ["emptying", "draining"],
        ["full", "ready"],
        ["gone", "not"],
    ]
    shown = json.loads(airscrew("executors", "list", "-o", "json").out)
    assert [each["state"] for each in shown] == ["in trouble", "drained", "draining", "ready", "not connected"]
    assert shown[3]["used"]["cpu_millis"] == 2000


def test_an_executor_whose_tasks_are_pods_has_room_for_a_number_of_them(airscrew: Command, admin: FakeAdmin) -> None:
    known = executor("cluster", attempts=2)
    known.places = 500
    admin.executors.known = [known]
    out = airscrew("executors").out
    assert "500 pods" in out and "4 cpu" not in out


def test_draining_has_a_deadline_and_says_what_becomes_of_what_runs(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executors.known = [executor("e1")]
    ran = airscrew("executors", "drain", "e1", "--deadline", "90s")
    assert (ran.code, ran.out) == (
        0,
        "e1 takes nothing new; what still runs in 1 m 30 s is begun anew elsewhere\n",
    )
    airscrew("executors", "drain", "e1")
    assert [request.grace_us for request in admin.executors.drained] == [90_000_000, 300_000_000]


@pytest.mark.parametrize(("name", "deadline", "told"), [("e2", "1m", "is not connected"), ("e1", "soon", "is no time")])
def test_what_cannot_be_drained_is_said_and_nothing_is_asked(
    airscrew: Command, admin: FakeAdmin, name: str, deadline: str, told: str
) -> None:
    admin.executors.known = [executor("e1")]
    ran = airscrew("executors", "drain", name, "--deadline", deadline)
    assert ran.code == 2 and told in ran.err
    assert not admin.executors.drained
