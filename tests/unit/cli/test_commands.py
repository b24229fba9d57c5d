"""The commands as a user runs them, against an admin that answers what the test wants."""

from __future__ import annotations

import json

import pytest

from libs.workflow.phases import ExecutionPhase, NodePhase
from protos import airscrew_pb2
from tests.support.command import Command, Ran
from tests.support.fake_admin import BORN_US, SECOND_US, FakeAdmin, execution, node

FAILURE = "Trace:\n\n  File demo.py\n\nMessage:\n\n  ValueError: bad luck\n"


def watch_reply(*nodes: object, of: object = None) -> airscrew_pb2.WatchExecutionReply:
    return airscrew_pb2.WatchExecutionReply(execution=of, nodes=nodes)


def a_run(end: ExecutionPhase, error: str = "") -> list[airscrew_pb2.WatchExecutionReply]:
    node_end = NodePhase.SUCCEEDED if end is ExecutionPhase.SUCCEEDED else NodePhase.FAILED
    return [
        watch_reply(of=execution("abc", ExecutionPhase.QUEUED)),
        watch_reply(
            node("start-node", NodePhase.SUCCEEDED),
            node("n0", NodePhase.QUEUED),
            of=execution("abc", ExecutionPhase.RUNNING),
        ),
        watch_reply(node("n0", NodePhase.RUNNING)),
        watch_reply(node("n0", node_end, 1.5, error)),
        watch_reply(of=execution("abc", end, 2.0, error)),
    ]


def test_executions_are_listed_with_their_phase_and_the_gist_of_their_error(
    airscrew: Command, admin: FakeAdmin
) -> None:
    admin.executions = [
        execution("abc", ExecutionPhase.SUCCEEDED, 2.5),
        execution("def", ExecutionPhase.FAILED, 61, FAILURE),
    ]
    ran = airscrew("get", "executions")

    assert ran.code == 0
    title, first, second = ran.out.splitlines()
    assert title.split() == ["NAME", "ENTITY", "PHASE", "CREATED", "TIME", "ERROR"]
    assert first.split()[:3] == ["abc", "examples.wf", "SUCCEEDED"]
    assert "2.50 s" in first
    assert second.endswith("1 m 01 s  ValueError: bad luck")


def test_filters_are_asked_of_the_server(airscrew: Command, admin: FakeAdmin) -> None:
    assert airscrew("get", "executions", "-p", "p", "-d", "d", "--phase", "running", "--phase", "QUEUED").code == 0

    (request,) = admin.list_requests
    assert (request.id.project, request.id.domain, request.limit) == ("p", "d", 20)
    assert request.filters == "value_in(phase,RUNNING;QUEUED)"
    assert request.sort_by.key == "created_at"


def test_json_has_every_field_and_whole_errors(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executions = [execution("def", ExecutionPhase.FAILED, 1.5, FAILURE)]
    (listed,) = json.loads(airscrew("get", "executions", "-o", "json").out)

    assert listed == {
        "project": "flytesnacks",
        "domain": "development",
        "name": "def",
        "phase": "FAILED",
        "entity": "examples.wf",
        "version": "v1",
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": "2023-11-14T22:13:20.000Z",
        "ended_at": "2023-11-14T22:13:21.500Z",
        "error": f"USER:RuntimeError: {FAILURE}",
    }


def test_an_execution_is_shown_as_a_tree(airscrew: Command, admin: FakeAdmin) -> None:
    admin.trees["abc"] = airscrew_pb2.GetTreeReply(
        execution=execution("abc", ExecutionPhase.SUCCEEDED, 2.0),
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        nodes=[
            airscrew_pb2.GetTreeReply.Node(
                node=node("n0", NodePhase.SUCCEEDED, 1.5),
                kind="task",
                task="examples.t",
                attempts=[
                    airscrew_pb2.GetTreeReply.Attempt(
                        attempt=number,
                        phase=phase,
                        executor="executor",
                        created_us=BORN_US,
                        started_us=BORN_US,
                        ended_us=BORN_US + SECOND_US,
                    )
                    for number, phase in enumerate(("RETRYABLE_FAILED", "SUCCEEDED"))
                ],
            )
        ],
    )
    ran = airscrew("get", "execution", "flytesnacks:development:abc")

    assert ran.code == 0
    assert "trace 4bf92f3577b34da6a3ce929d0e0e4736" in ran.out
    assert "n0           examples.t   SUCCEEDED         1.50 s" in ran.out
    assert "  attempt 0  on executor  RETRYABLE_FAILED  1.00 s" in ran.out

    shown = json.loads(airscrew("get", "execution", "abc", "-o", "json").out)
    assert shown["nodes"][0]["attempts"][1]["phase"] == "SUCCEEDED"


def test_latest_is_the_newest_of_the_project_and_domain(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executions = [execution("new", ExecutionPhase.RUNNING), execution("old", ExecutionPhase.RUNNING)]

    assert airscrew("abort", "@latest").code == 0
    assert admin.aborted == [("new", "aborted from the command line")]


def test_latest_of_nothing_is_said_so(airscrew: Command, admin: FakeAdmin) -> None:
    ran = airscrew("abort", "@latest", "-p", "empty")

    assert ran == Ran(2, "", "airscrew: there is no execution in empty:development\n")


def test_a_watch_off_the_terminal_is_one_line_for_each_change(airscrew: Command, admin: FakeAdmin) -> None:
    admin.watches["abc"] = [a_run(ExecutionPhase.SUCCEEDED)]
    ran = airscrew("watch", "abc")

    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["abc", "QUEUED"],
        ["n0", "QUEUED"],
        ["abc", "RUNNING"],
        ["n0", "RUNNING"],
        ["n0", "SUCCEEDED", "1.50", "s"],
        ["abc", "SUCCEEDED", "2.00", "s"],
    ]


@pytest.mark.parametrize("end", [ExecutionPhase.FAILED, ExecutionPhase.ABORTED, ExecutionPhase.TIMED_OUT])
def test_watching_what_does_not_succeed_ends_with_exit_code_1(
    end: ExecutionPhase, airscrew: Command, admin: FakeAdmin
) -> None:
    admin.watches["abc"] = [a_run(end, FAILURE)]
    ran = airscrew("watch", "abc")

    assert ran.code == 1
    assert ran.out.rstrip().endswith("ValueError: bad luck")


def test_a_watch_survives_a_server_that_goes_away_and_repeats_nothing(airscrew: Command, admin: FakeAdmin) -> None:
    story = a_run(ExecutionPhase.SUCCEEDED)
    present = watch_reply(node("n0", NodePhase.RUNNING), of=execution("abc", ExecutionPhase.RUNNING))
    admin.watches["abc"] = [story[:3], [present], [present, *story[3:]]]
    ran = airscrew("watch", "abc", "-o", "json")

    records = [json.loads(line) for line in ran.out.splitlines()]
    phases = [record["node"]["phase"] for record in records if "node" in record and record["node"]["id"] == "n0"]
    assert ran.code == 0
    assert phases == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_a_watch_on_a_terminal_ends_with_the_whole_tree(
    airscrew: Command, admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich is concerned
    admin.watches["abc"] = [a_run(ExecutionPhase.FAILED, FAILURE)]
    admin.trees["abc"] = airscrew_pb2.GetTreeReply(
        execution=execution("abc", ExecutionPhase.FAILED, 2.0, FAILURE),
        nodes=[
            airscrew_pb2.GetTreeReply.Node(
                node=node("n0", NodePhase.FAILED, 1.5, FAILURE), kind="task", task="examples.t"
            )
        ],
    )
    ran = airscrew("watch", "abc")

    assert ran.code == 1
    assert "\x1b[" in ran.out
    assert ran.out.rstrip().endswith("ValueError: bad luck")
    assert "examples.t" in ran.out


def test_logs_are_the_bytes_that_the_task_wrote(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executions = [execution("abc", ExecutionPhase.RUNNING)]
    admin.logs["abc", "n0", 0] = b"first attempt\n"
    admin.logs["abc", "n0", 1] = b"second attempt\nno end"
    admin.latest_attempt = 1

    assert airscrew("logs", "abc/n0").out == "second attempt\nno end"
    assert airscrew("logs", "@latest/n0/0").out == "first attempt\n"
    assert [json.loads(line)["line"] for line in airscrew("logs", "abc/n0", "-o", "json").out.splitlines()] == [
        "second attempt",
        "no end",
    ]


def test_followed_logs_go_on_at_the_same_byte_after_the_server_went_away(airscrew: Command, admin: FakeAdmin) -> None:
    admin.logs["abc", "n0", 0] = b"one two three four five"
    admin.log_breaks = [2, 1]

    assert airscrew("logs", "-f", "abc/n0") == Ran(0, "one two three four five", "")


def test_an_abort_carries_its_reason(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executions = [execution("abc", ExecutionPhase.RUNNING)]
    ran = airscrew("abort", "abc", "--reason", "wrong seed", "-o", "json")

    assert admin.aborted == [("abc", "wrong seed")]
    assert json.loads(ran.out) == {"execution": "flytesnacks:development:abc", "asked_to_abort": True}


def test_versions_of_both_sides_are_shown(airscrew: Command, admin: FakeAdmin) -> None:
    assert airscrew("version").out.splitlines()[1] == "server   v0.1.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "execution", "nope"), "airscrew: execution flytesnacks:development:nope does not exist"),
        (("logs", "abc/n9"), "airscrew: node n9 has no attempt 0"),
        (("get", "execution", "a:b"), "airscrew: 'a:b' names no execution"),
        (("logs", "abc"), "airscrew: 'abc' names no node"),
    ],
)
def test_what_goes_wrong_is_one_line_on_stderr_and_exit_code_2(
    arguments: tuple[str, ...], message: str, airscrew: Command, admin: FakeAdmin
) -> None:
    ran = airscrew(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(message)
    assert ran.err.count("\n") == 1


def test_misuse_is_exit_code_2(airscrew: Command) -> None:
    assert airscrew("get", "executions", "--phase", "DONE").code == 2
    assert airscrew("nonsense").code == 2


def test_a_server_that_is_not_there_is_named_with_what_to_do(airscrew: Command) -> None:
    ran = airscrew("watch", "abc", "--endpoint", "127.0.0.1:1")

    assert ran.code == 2
    assert ran.err.startswith("airscrew: 127.0.0.1:1 (--endpoint) does not answer")
    assert "`airscrew start`" in ran.err
