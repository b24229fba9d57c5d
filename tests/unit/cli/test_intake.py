"""`airscrew intake` as a user runs it."""

from __future__ import annotations

import json

import pytest

from protos import intake_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin

SOURCE = "redis://h:1/2/Tasks%20of%20today"


def test_a_list_is_added_with_what_nobody_said_by_default(airscrew: Command, admin: FakeAdmin) -> None:
    ran = airscrew("intake", "add", SOURCE, "--launch-plan", "shop.sell")
    assert (ran.code, ran.out) == (0, f"intake tasks-20of-20today: {SOURCE} becomes shop.sell v9\n")
    (added,) = admin.intakes.defined.values()
    assert (added.kind, added.codec, added.field) == (intake_pb2.KIND_LIST, intake_pb2.CODEC_JSON, "data")
    assert (added.limit, added.tries) == (1000, 5)
    assert (added.id.project, added.launch_plan.project) == ("flytesnacks", "flytesnacks")


def test_a_stream_is_added_with_what_was_said(airscrew: Command, admin: FakeAdmin) -> None:
    chosen = ("--kind", "stream", "--field", "f", "--id-field", "id", "--limit", "3", "--tries", "2", "--name", "n")
    ran = airscrew("intake", "add", SOURCE, "--launch-plan", "shop.sell@v2", *chosen, "-o", "json")
    assert json.loads(ran.out) == {"intake": "n", "launch_plan": "shop.sell", "version": "v2"}
    added = admin.intakes.defined["n"]
    assert (added.kind, added.field, added.id_field) == (intake_pb2.KIND_STREAM, "f", "id")
    assert (added.limit, added.tries, added.launch_plan.version) == (3, 2, "v2")


@pytest.mark.parametrize(
    ("source", "words"),
    [("redis://h/%", "--name"), ("http://h/tasks", "redis://"), ("redis://me:pw@h/tasks", "PASSWORDS")],
)
def test_an_address_that_cannot_be_meant_is_refused_here(
    airscrew: Command, admin: FakeAdmin, source: str, words: str
) -> None:
    ran = airscrew("intake", "add", source, "--launch-plan", "shop.sell")
    assert ran.code == 2 and words in ran.err and not admin.intakes.defined


def test_the_list_says_how_far_each_is_and_what_it_waits_for(airscrew: Command, admin: FakeAdmin) -> None:
    airscrew("intake", "add", "redis://h/a", "--launch-plan", "shop.sell")
    airscrew("intake", "add", "redis://h/b", "--launch-plan", "shop.sell")
    airscrew("intake", "pause", "b")
    admin.intakes.pending = 4
    admin.intakes.progress["a"] = intake_pb2.Progress(
        waiting=10, claimed=2, done=30, dead=1, rate=12.5, runner="host:1", note="waits: the limit is 4"
    )
    head, first, second = airscrew("intake", "list").out.splitlines()
    assert head.split()[:2] == ["NAME", "SOURCE"]
    assert " ".join(first.split()) == "a redis://h/a shop.sell@v9 running 10 2 30 4 1 12.5/s waits: the limit is 4"
    assert " ".join(second.split()) == "b redis://h/b shop.sell@v9 paused ? 0 0 4 0 0/s"
    (shown, _) = json.loads(airscrew("intake", "list", "-o", "json").out)
    assert (shown["waiting"], shown["pending"], shown["state"]) == (10, 4, "running")


def test_what_was_given_up_is_shown_and_replayed(airscrew: Command, admin: FakeAdmin) -> None:
    airscrew("intake", "add", "redis://h/a", "--launch-plan", "shop.sell")
    admin.intakes.dead = [intake_pb2.DeadItem(claim="1-0", item=b"\xff{", reason="is no JSON", at_us=0)]
    shown = airscrew("intake", "dead", "a").out.splitlines()[1]
    assert shown.startswith("1-0") and "1970-01-01" in shown and r"\\xff{" in shown and shown.endswith("is no JSON")
    assert airscrew("intake", "replay", "a").out == "1 item is taken in once more\n"
    assert airscrew("intake", "replay", "a", "--limit", "2").out == "2 items are taken in once more\n"
    assert admin.intakes.replayed == [0, 2]


def test_one_is_resumed_and_removed_and_an_unknown_one_is_exit_code_2(airscrew: Command, admin: FakeAdmin) -> None:
    airscrew("intake", "add", "redis://h/a", "--launch-plan", "shop.sell")
    airscrew("intake", "pause", "a")
    assert admin.intakes.defined["a"].paused
    airscrew("intake", "resume", "a")
    assert not admin.intakes.defined["a"].paused
    assert airscrew("intake", "remove", "a").out == "intake a is removed\n"
    ran = airscrew("intake", "remove", "a")
    assert ran.code == 2 and "there is no intake a" in ran.err
