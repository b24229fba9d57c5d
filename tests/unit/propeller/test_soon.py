"""Executors that come before anybody leads: who waits for whom, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from libs.election import LeaderInfo
from libs.wire import codec
from libs.wire.session import Hello
from libs.workflow.quantities import Slots
from protos import propeller_pb2
from services.propeller.api import SOON_SECONDS, PropellerApi
from services.propeller.settings import PropellerSettings
from services.propeller.shards import Known
from tests.support.virtual import TURNS_SECONDS, on_virtual_time

OWN, ANOTHER = "own:1", "another:1"
SETTINGS = PropellerSettings(OWN, "", "", (), "secret")


@dataclass
class Shards:
    """One shard, which this replica does not lead."""

    leader: LeaderInfo | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def term(self, shard: int) -> None:
        return None

    async def decided(self, shard: int) -> None:
        await self.settled.wait()

    async def leaders(self) -> list[Known]:
        return [Known(0, self.leader, 0)]


class Call:
    """An executor's, and when it was answered what."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, str]] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", "Bearer secret"),)

    async def write(self, message: propeller_pb2.LeaderMessage) -> None:
        (leader,) = message.not_leader.leaders
        self.answers.append((asyncio.get_running_loop().time(), leader.address))

    async def requests(self) -> AsyncIterator[propeller_pb2.ExecutorMessage]:
        yield codec.encode_executor([Hello("e1", "e1-1", Slots(1, 1), (), 0, {}, "test")])


def at(address: str) -> LeaderInfo:
    return LeaderInfo(holder="somebody", address=address, create_revision=1)


async def answer(shards: Any) -> tuple[float, str]:
    call = Call()
    await PropellerApi(SETTINGS, shards, die=lambda: None).Session(call.requests(), call)
    (only,) = call.answers
    return only


@on_virtual_time
async def test_where_another_leads_that_is_said_at_once() -> None:
    seconds, told = await answer(Shards(at(ANOTHER)))
    assert seconds < TURNS_SECONDS and told == ANOTHER


@pytest.mark.parametrize("leader", [None, at(OWN)], ids=["nobody", "a former life of this replica"])
@on_virtual_time
async def test_where_this_replica_may_lead_soon_they_wait_for_that(leader: LeaderInfo | None) -> None:
    seconds, told = await answer(Shards(leader))
    assert SOON_SECONDS <= seconds < SOON_SECONDS + TURNS_SECONDS and told == ("" if leader is None else OWN)


@on_virtual_time
async def test_they_do_not_wait_for_one_that_leads_or_does_not_try_any_more() -> None:
    shards = Shards()
    asyncio.get_running_loop().call_later(0.3, shards.settled.set)
    seconds, told = await answer(shards)
    assert 0.3 <= seconds < 0.3 + TURNS_SECONDS and not told
