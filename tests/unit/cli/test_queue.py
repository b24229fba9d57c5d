"""`airscrew queue` as a user runs it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flyteidl.core import identifier_pb2

from protos import airscrew_pb2, queue_pb2
from tests.support.command import Command
from tests.support.fake_admin import FakeAdmin

SECOND_US = 1_000_000


def words(line: str) -> str:
    return " ".join(line.split())


def test_a_pause_has_an_end_and_says_which(airscrew: Command, admin: FakeAdmin) -> None:
    ran = airscrew("queue", "pause", "--for", "1.5m")
    assert (ran.code, ran.out) == (
        0,
        "the queue is paused for 1 m 30 s, or until `airscrew queue resume`\n",
    )
    airscrew("queue", "pause", "--for", "2h", "--shard", "0")
    assert admin.queue.asked == [
        queue_pb2.PauseRequest(ttl_us=90 * SECOND_US),
        queue_pb2.PauseRequest(shard=0, ttl_us=7200 * SECOND_US),
    ]
    first, second = admin.queue.asked
    assert not first.HasField("shard") and second.HasField("shard")


@pytest.mark.parametrize("span", ["10", "ten minutes", "0s", "-5m", "m", "inf"])
def test_a_pause_without_an_end_that_can_be_meant_is_refused_here(
    airscrew: Command, admin: FakeAdmin, span: str
) -> None:
    ran = airscrew("queue", "pause", "--for", span)
    assert ran.code == 2 and "is no time" in ran.err and not admin.queue.asked


def test_a_pause_for_no_time_at_all_is_not_a_pause(airscrew: Command, admin: FakeAdmin) -> None:
    assert airscrew("queue", "pause").code == 2 and not admin.queue.asked


def test_resuming_one_shard_or_all(airscrew: Command, admin: FakeAdmin) -> None:
    assert airscrew("queue", "resume").out == "the queue goes on\n"
    assert airscrew("queue", "resume", "--shard", "3").out == "shard 3 of the queue goes on\n"
    assert admin.queue.asked == [queue_pb2.ResumeRequest(), queue_pb2.ResumeRequest(shard=3)]


def test_an_empty_queue_is_said_to_be_empty(airscrew: Command, admin: FakeAdmin) -> None:
    admin.queue.stats.limit = 10
    assert airscrew("queue", "stats").out == "0 of 10 places taken\n"
    assert airscrew("queue", "inspect").out == "the queue is empty\n"


def test_stats_tell_depth_by_lane_and_priority_the_oldest_age_and_leases_by_propeller(
    airscrew: Command, admin: FakeAdmin
) -> None:
    durations = queue_pb2.StatsReply.Durations(count=2, total_us=3 * SECOND_US, longest_us=2 * SECOND_US)
    metrics = queue_pb2.StatsReply.Metrics(retries=4, queue_latency=durations)
    numbers: dict[str, Any] = {"waiting": 5, "delayed": 1, "leased": 2, "oldest_us": 61 * SECOND_US, "epoch": 7}
    shard = queue_pb2.StatsReply.Shard(
        shard=1, propeller="p-a", paused_us=9 * SECOND_US, metrics=metrics, added=11, collapsed=3, **numbers
    )
    shard.lanes.add(priority=9, lane="shop", waiting=4)
    shard.lanes.add(waiting=1)
    admin.queue.stats.CopyFrom(
        queue_pb2.StatsReply(depth=6, limit=10, shards=[queue_pb2.StatsReply.Shard(propeller="p-a", leased=1), shard])
    )
    lines = list(map(words, airscrew("queue", "stats").out.splitlines()))
    assert lines[0] == "6 of 10 places taken"
    assert lines[3] == "1 paused 9.00 s p-a 7 5 0 1 2 1 m 01 s 4"
    assert "1 9 shop 4" in lines and "1 0 - 1" in lines
    assert "1 11 3 0 0 1.50 s 0.00 s 0.00 s" in lines
    assert lines[-1] == "p-a 3"
    shown = json.loads(airscrew("queue", "stats", "-o", "json").out)
    assert shown["shards"][1]["lanes"][0] == {"priority": 9, "lane": "shop", "waiting": 4}
    assert shown["shards"][1]["queue_latency"]["longest_us"] == 2 * SECOND_US


def test_inspecting_names_executions_what_they_wait_for_and_who_has_them(airscrew: Command, admin: FakeAdmin) -> None:
    id = identifier_pb2.WorkflowExecutionIdentifier(project="shop", domain="prod", name="x1")
    state = queue_pb2.InspectReply
    leased = state.Entry(
        key=queue_pb2.Key(id=1, lane="shop", priority=9, reasons=3),
        state=state.STATE_LEASED,
        age_us=2 * SECOND_US,
        retries=1,
        propeller="p-a",
    )
    delayed = state.Entry(key=queue_pb2.Key(id=2, shard=1, delay_us=5 * SECOND_US), state=state.STATE_DELAYED)
    admin.queue.entries = [
        airscrew_pb2.InspectQueueReply.Entry(entry=leased, execution=id),
        airscrew_pb2.InspectQueueReply.Entry(entry=delayed),
    ]
    _, first, second = map(words, airscrew("queue", "inspect", "--limit", "7").out.splitlines())
    assert first == "shop:prod:x1 0 leased 2.00 s 9 shop submitted intent 1 p-a"
    assert second == "key 2 1 delayed due in 5.00 s 0 - - 0 -"
    assert admin.queue.asked == [queue_pb2.InspectRequest(limit=7)]
    (shown, unknown) = json.loads(airscrew("queue", "inspect", "-o", "json").out)
    assert shown["execution"] == "shop:prod:x1" and shown["reasons"] == ["submitted", "intent"]
    assert unknown["execution"] is None and unknown["due_us"] == 5 * SECOND_US
