"""`airscrew chaos` as a user runs it."""

from __future__ import annotations

import io
import json
import sys

import grpc
import pytest

from protos import airscrew_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin

Reply = airscrew_pb2.KillLeaderReply


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def steps(admin: FakeAdmin) -> None:
    first, second = {"holder": "p1", "address": "a:1"}, {"holder": "p2", "address": "a:2"}
    admin.chaos.steps = [
        Reply(what=Reply.WHAT_KILLED, shard=2, epoch=3, **first),
        Reply(what=Reply.WHAT_CLAIMED, shard=2, epoch=4, after_us=4_910_000, **second),
        Reply(what=Reply.WHAT_COMMITTED, shard=2, epoch=4, after_us=4_950_000, **second),
        Reply(what=Reply.WHAT_WARM, shard=2, epoch=4, after_us=5_020_000, executions=37, **second),
    ]


def test_a_take_over_is_told_step_by_step(airscrew: Command, admin: FakeAdmin) -> None:
    ran = airscrew("chaos", "kill-leader", "--shard", "2", "--patience", "90s", "--yes")
    assert (ran.code, ran.out.splitlines()) == (
        0,
        [
            "   0.00 s  shard 2: p1 at a:1, which led in epoch 3, is killed",
            "   4.91 s  shard 2: p2 at a:2 leads in epoch 4",
            "   4.95 s  shard 2: its first commit is durable",
            "   5.02 s  shard 2: all 37 live executions are in its memory",
        ],
    )
    [asked] = admin.chaos.asked
    assert (asked.shard, asked.patience_us) == (2, 90_000_000)


def test_for_programs_each_step_is_a_line_of_json(airscrew: Command, admin: FakeAdmin) -> None:
    told = [json.loads(line) for line in airscrew("chaos", "kill-leader", "--yes", "-o", "json").out.splitlines()]
    assert [(step["what"], step["seconds"], step["epoch"], step.get("executions")) for step in told] == [
        ("killed", 0, 3, None),
        ("claimed", 4.91, 4, None),
        ("committed", 4.95, 4, None),
        ("warm", 5.02, 4, 37),
    ]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "this propeller may not be killed"),
        (grpc.StatusCode.FAILED_PRECONDITION, "nobody leads shard 0 now"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "nobody has taken over shard 0, 60 s after the kill"),
    ],
)
def test_what_does_not_work_is_said(airscrew: Command, admin: FakeAdmin, status: grpc.StatusCode, message: str) -> None:
    admin.chaos.steps, admin.chaos.refusal = [], (status, message)
    ran = airscrew("chaos", "kill-leader", "--yes")
    assert (ran.code, ran.out, ran.err) == (2, "", f"airscrew: {message}\n")


@pytest.mark.parametrize(("answer", "code", "asked"), [("y\n", 0, 1), ("n\n", 130, 0), ("\n", 130, 0)])
def test_a_person_is_asked_first(
    airscrew: Command, admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, asked: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    ran = airscrew("chaos", "kill-leader")
    assert ran.code == code and len(admin.chaos.asked) == asked
    assert "Kill the leader of shard 0?" in ran.err


def test_without_a_person_it_has_to_be_said(
    airscrew: Command, admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ran = airscrew("chaos", "kill-leader")
    assert ran.code == 2 and "--yes" in ran.err and not admin.chaos.asked


def test_a_time_that_is_none_is_refused_before_anything_happens(airscrew: Command, admin: FakeAdmin) -> None:
    ran = airscrew("chaos", "kill-leader", "--yes", "--patience", "long")
    assert ran.code == 2 and "'long' is no time" in ran.err and not admin.chaos.asked
