"""What a replica does as its part of the shards changes: gives up in order, begins again, stops with all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libs.election import LeaderInfo, Survey, rendezvous
from libs.runtime.clock import SystemClock
from libs.workflow.errors import Unavailable
from services.propeller import shards as module
from services.propeller.shards import Shards
from tests.support.waiting import until

SHARDS = 4
ALONE = frozenset({"a"})
BOTH = frozenset({"a", "b"})


class Leadership:
    """Leads from when it is told to until it is told to leave and `may_end`."""

    term = None

    def __init__(self) -> None:
        self.leading = False
        self.begun = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def run(self, leaving: asyncio.Event) -> None:
        assert not self.leading, "nobody leads a shard twice"
        self.leading = True
        self.begun += 1
        await leaving.wait()
        await self.may_end.wait()
        self.leading = False


class Presence:
    """Replica `a` among those that the test says."""

    replica = "a"

    def __init__(self) -> None:
        self.replicas = ALONE
        self.away = False
        self.looks = 0
        self.here = False

    async def keep(self, leaving: asyncio.Event) -> None:
        self.here = True
        await leaving.wait()
        self.here = False

    async def look(self) -> Survey:
        self.looks += 1
        if self.away:
            raise Unavailable("etcd is away")
        return Survey(self.replicas, {shard: LeaderInfo("a", "a:1", 1) for shard in range(SHARDS)})


class Replica:
    """What is looked at."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.leaderships = [Leadership() for _ in range(SHARDS)]
        all_of_them: Any = self.leaderships
        self.shards = Shards(all_of_them, self.presence, SystemClock(), 60.0)
        self.stopping = asyncio.Event()

    @property
    def leads(self) -> set[int]:
        return {shard for shard, leadership in enumerate(self.leaderships) if leadership.leading}

    async def looked(self) -> None:
        """Returns after the next whole look."""
        looks = self.presence.looks
        await until(lambda: self.presence.looks >= looks + 2)


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Replica:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.005)
    return Replica()


def part(replicas: frozenset[str]) -> set[int]:
    return {shard for shard, name in rendezvous.assign(SHARDS, replicas).items() if name == "a"}


async def test_a_replica_leads_its_part_as_others_come_and_go(replica: Replica) -> None:
    running = asyncio.create_task(replica.shards.run(replica.stopping))
    await until(lambda: replica.leads == set(range(SHARDS)))
    replica.presence.replicas = BOTH
    await until(lambda: replica.leads == part(BOTH))
    replica.presence.replicas = ALONE
    await until(lambda: replica.leads == set(range(SHARDS)))
    assert {replica.leaderships[shard].begun for shard in part(BOTH)} == {1}, "what stays is not touched"
    replica.stopping.set()
    await running
    assert not replica.leads


async def test_a_shard_that_comes_back_while_it_is_given_up_is_begun_again_after_that(replica: Replica) -> None:
    running = asyncio.create_task(replica.shards.run(replica.stopping))
    await until(lambda: replica.leads == set(range(SHARDS)))
    moved = (set(range(SHARDS)) - part(BOTH)).pop()
    slow = replica.leaderships[moved]
    slow.may_end.clear()
    replica.presence.replicas = BOTH
    await replica.looked()
    replica.presence.replicas = ALONE
    await replica.looked()
    assert slow.leading and slow.begun == 1
    slow.may_end.set()
    await until(lambda: slow.begun == 2)
    replica.stopping.set()
    await running


async def test_while_etcd_is_away_nothing_changes_and_the_last_known_leaders_are_told(replica: Replica) -> None:
    assert [known.leader for known in await replica.shards.leaders()] == [None] * SHARDS
    running = asyncio.create_task(replica.shards.run(replica.stopping))
    await until(lambda: replica.leads == set(range(SHARDS)))
    replica.presence.away = True
    replica.presence.replicas = BOTH
    await replica.looked()
    assert replica.leads == set(range(SHARDS))
    assert [known.leader and known.leader.holder for known in await replica.shards.leaders()] == ["a"] * SHARDS
    replica.stopping.set()
    await running


async def test_whoever_stops_is_gone_for_the_others_before_its_turns_are_finished(replica: Replica) -> None:
    running = asyncio.create_task(replica.shards.run(replica.stopping))
    await until(lambda: replica.leads == set(range(SHARDS)))
    for leadership in replica.leaderships:
        leadership.may_end.clear()
    replica.stopping.set()
    await until(lambda: not replica.presence.here)
    assert replica.leads == set(range(SHARDS)) and not running.done()
    for leadership in replica.leaderships:
        leadership.may_end.set()
    await running
    assert not replica.leads


async def test_there_is_no_term_of_a_shard_that_there_is_not(replica: Replica) -> None:
    assert replica.shards.term(SHARDS) is None and len(replica.shards) == SHARDS
