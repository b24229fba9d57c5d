"""`airscrew explain` and `airscrew events`, against an admin that answers what the test wants."""

from __future__ import annotations

import json

from libs.workflow.phases import ExecutionPhase
from protos import airscrew_pb2
from tests.support.command import Command
from tests.support.fake_admin import BORN_US, SECOND_US, FakeAdmin, execution


def cause(code: str, sentence: str, node: str, *causes: airscrew_pb2.Cause, name: str = "abc") -> airscrew_pb2.Cause:
    found = airscrew_pb2.Cause(code=code, sentence=sentence, node_id=node, causes=causes, facts={"asked": "64 cpu"})
    found.execution.project, found.execution.domain, found.execution.name = "flytesnacks", "development", name
    return found


def event(kind: str, second: int, node: str = "", message: str = "") -> airscrew_pb2.ListEventsReply.Event:
    attempt = 0 if node else None
    return airscrew_pb2.ListEventsReply.Event(
        at_us=BORN_US + second * SECOND_US, kind=kind, node_id=node, attempt=attempt, message=message
    )


def test_causes_stand_below_what_they_explain(airscrew: Command, admin: FakeAdmin) -> None:
    inner = cause("NO_EXECUTOR", "no executor is connected", "n3", name="child")
    admin.explanations["abc", ""] = airscrew_pb2.ExplainReply(
        phase="RUNNING", causes=[cause("CHILD", "it waits for child", "n0", inner)]
    )
    assert airscrew("explain", "abc").out.splitlines() == [
        "flytesnacks:development:abc is RUNNING",
        "  n0: it waits for child",
        "    flytesnacks:development:child/n3: no executor is connected",
    ]


def test_a_node_is_explained_and_json_has_the_facts(airscrew: Command, admin: FakeAdmin) -> None:
    admin.explanations["abc", "n0"] = airscrew_pb2.ExplainReply(
        phase="QUEUED", live=True, causes=[cause("NO_FITTING_EXECUTOR", "too large", "n0")]
    )
    found = json.loads(airscrew("explain", "abc/n0", "-o", "json").out)
    assert (found["phase"], found["live"], found["node"]) == ("QUEUED", True, "n0")
    assert found["causes"][0]["code"] == "NO_FITTING_EXECUTOR"
    assert found["causes"][0]["facts"] == {"asked": "64 cpu"}


def test_a_node_that_is_not_there_is_an_error_of_the_command(airscrew: Command, admin: FakeAdmin) -> None:
    ran = airscrew("explain", "abc/n7")
    assert ran.code == 2
    assert "n7" in ran.err


def test_events_are_told_a_line_each_over_all_pages(airscrew: Command, admin: FakeAdmin) -> None:
    admin.events = [
        event("ExecutionStarted", 0),
        event("AttemptPlaced", 1, "n0", "on e1"),
        event("AttemptFailed", 2, "n0", "Code: bad luck"),
    ]
    assert airscrew("events", "abc").out.splitlines() == [
        "2023-11-14T22:13:20.000Z  -  ExecutionStarted",
        "2023-11-14T22:13:21.000Z  n0/0  AttemptPlaced  on e1",
        "2023-11-14T22:13:22.000Z  n0/0  AttemptFailed  Code: bad luck",
    ]
    assert len(airscrew("events", "abc/n0").out.splitlines()) == 2


def test_whoever_follows_is_told_each_event_once(airscrew: Command, admin: FakeAdmin) -> None:
    admin.events = [event("ExecutionStarted", 0), event("ExecutionSucceeded", 2)]
    admin.watches["abc"] = [
        [
            airscrew_pb2.WatchExecutionReply(execution=execution("abc", ExecutionPhase.RUNNING)),
            airscrew_pb2.WatchExecutionReply(execution=execution("abc", ExecutionPhase.SUCCEEDED, 2)),
        ]
    ]
    assert len(airscrew("events", "-f", "abc").out.splitlines()) == 2
