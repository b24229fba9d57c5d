"""`airscrew shards` as a user runs it."""

from __future__ import annotations

import json

from protos import airscrew_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin

Shard = airscrew_pb2.ListShardsReply.Shard

LED = Shard(
    shard=0,
    holder="propeller-2",
    address="host:1",
    epoch=7,
    claimed_at_us=5,
    leading=True,
    executions=40,
    cold=3,
    pending_attempts=12,
    executors=2,
)
SILENT = Shard(shard=1, holder="propeller-1", address="host:2", epoch=3, claimed_at_us=4)


def test_each_shard_is_shown_with_its_leader_and_what_that_has_to_do(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executors.shards = [LED, SILENT, Shard(shard=2)]
    lines = [line.split() for line in airscrew("shards").out.splitlines()]
    assert lines[0] == ["SHARD", "LEADER", "ADDRESS", "EPOCH", "STATE", "EXECUTIONS", "COLD", "WAITING", "EXECUTORS"]
    assert lines[1] == ["0", "propeller-2", "host:1", "7", "leads", "40", "3", "12", "2"]
    assert lines[2] == ["1", "propeller-1", "host:2", "3", "no", "answer", "-", "-", "-", "-"]
    assert lines[3] == ["2", "-", "-", "-", "never", "led", "-", "-", "-", "-"]


def test_as_json_it_is_numbers(airscrew: Command, admin: FakeAdmin) -> None:
    admin.executors.shards = [LED]
    assert json.loads(airscrew("shards", "-o", "json").out) == [
        {
            "shard": 0,
            "leader": "propeller-2",
            "address": "host:1",
            "epoch": 7,
            "claimed_at_us": 5,
            "leading": True,
            "executions": 40,
            "cold": 3,
            "pending_attempts": 12,
            "executors": 2,
        }
    ]
