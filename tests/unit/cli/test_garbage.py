"""`airscrew gc` as a user runs it."""

from __future__ import annotations

import json

import pytest

from protos import propeller_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin

PROJECT = propeller_pb2.PreviewCollectionReply.Project
PASS = propeller_pb2.CollectionReply.Pass(
    began_us=1_000_000,
    ended_us=3_500_000,
    marked=4,
    kept=1,
    executions=12,
    rows=340,
    entries=2,
    blobs=36,
    bytes=5 << 20,
)


def shard(**more: object) -> propeller_pb2.CollectionReply:
    return propeller_pb2.CollectionReply(
        retention_days={"*": "90", "ml": "forever"}, marked=7, condemned=0, last=PASS, **more
    )


def test_the_state_is_what_is_kept_how_long_and_what_the_last_pass_did(airscrew: Command, admin: FakeAdmin) -> None:
    admin.garbage.shards = [shard(shard=0)]
    assert airscrew("gc").out.splitlines() == [
        "shard 0",
        "  executions are kept, in days: *=90, ml=forever",
        "  marked, to be looked at again: 7; being removed: 0",
        "  the last pass took 2.50 s: 4 marked, 1 kept after all, 12 executions removed with 340 rows and 36 blobs "
        "(5 MiB), 2 cached outputs forgotten",
    ]
    shown = json.loads(airscrew("gc", "status", "-o", "json").out)
    assert shown[0]["last"]["executions"] == 12 and shown[0]["now"] is None


def test_a_dry_run_tells_what_would_go_and_why_what_is_old_stays(airscrew: Command, admin: FakeAdmin) -> None:
    admin.garbage.projects = [
        PROJECT(project="ml", heads=3, executions=5, live=1, cached=2, held=4, measured=5, blobs=15, bytes=2048),
        PROJECT(project="big", heads=20000, executions=20000, more=True, measured=200, blobs=600, bytes=1 << 30),
    ]
    lines = [line.split() for line in airscrew("gc", "--dry-run").out.splitlines()]
    assert lines[1] == ["big", "20000+", "20000+", "600", "in", "200", "1", "GiB", "in", "200", "0+", "0+", "0+"]
    assert lines[2] == ["ml", "5", "3", "15", "2", "KiB", "1", "2", "4"]
    airscrew("gc", "preview", "--days", "30")
    assert [request.HasField("days") for request in admin.garbage.previews] == [False, True]
    assert admin.garbage.previews[1].days == 30
    assert not admin.garbage.begun


def test_where_everything_is_kept_for_ever_a_dry_run_says_so(airscrew: Command, admin: FakeAdmin) -> None:
    admin.garbage.shards = [propeller_pb2.CollectionReply()]
    assert "everything is kept for ever" in airscrew("gc", "--dry-run").out
    assert airscrew("gc", "preview", "--days", "3").out == "nothing is old enough\n"


def test_run_waits_until_every_leader_has_looked(airscrew: Command, admin: FakeAdmin) -> None:
    admin.garbage.shards = [shard(shard=0), shard(shard=1)]
    ran = airscrew("gc", "run")
    assert (ran.code, admin.garbage.begun) == (0, 1)
    assert [line for line in ran.out.splitlines() if line.startswith("shard")] == ["shard 0", "shard 1"]


def test_trouble_of_a_pass_is_told_and_is_no_success(airscrew: Command, admin: FakeAdmin) -> None:
    told = shard(shard=0)
    told.last.trouble = "the store is away"
    admin.garbage.shards = [told]
    ran = airscrew("gc", "run")
    assert ran.code == 1 and "it ended early: the store is away" in ran.out


@pytest.mark.parametrize("days", ["-1", "soon"])
def test_days_that_are_none_are_refused(airscrew: Command, admin: FakeAdmin, days: str) -> None:
    assert airscrew("gc", "preview", "--days", days).code == 2
    assert not admin.garbage.previews
