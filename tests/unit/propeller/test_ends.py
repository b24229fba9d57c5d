"""Whom a replica tells of ends: everybody who follows, as long as it is open, and not more than it can."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from libs.clients.propeller import Propellers
from libs.rpc import channel
from libs.rpc import server as rpc
from libs.workflow.errors import ResourceExhausted
from libs.workflow.phases import ExecutionPhase
from protos import propeller_pb2, propeller_pb2_grpc
from services.propeller import api as propeller_api
from services.propeller import ends as ends_module
from services.propeller.api import SERVICE, PropellerApi
from services.propeller.ends import BUFFER_HINTS, MOST_FOLLOWERS, Ends
from services.propeller.settings import PropellerSettings
from tests.support.waiting import until

SUCCEEDED, RUNNING = int(ExecutionPhase.SUCCEEDED), int(ExecutionPhase.RUNNING)


async def test_who_follows_is_told_of_ends_alone_and_hears_what_is_left_when_it_closes() -> None:
    ends = Ends(None)
    with ends.follower() as follower:
        ends.publish([(1, SUCCEEDED), (2, RUNNING)])
        ends.publish([(3, SUCCEEDED)])
        ends.close()
        async with asyncio.timeout(5):
            assert [batch async for batch in follower] == [[(1, SUCCEEDED), (3, SUCCEEDED)]]


async def test_who_follows_when_it_has_closed_hears_that_at_once() -> None:
    ends = Ends(None)
    ends.close()
    with ends.follower() as follower:
        async with asyncio.timeout(5):
            assert [batch async for batch in follower] == []


async def test_no_more_may_follow_than_a_leader_can_bear() -> None:
    ends = Ends(None)
    with ExitStack() as following:
        for _ in range(MOST_FOLLOWERS):
            following.enter_context(ends.follower())
        with pytest.raises(ResourceExhausted, match=f"{MOST_FOLLOWERS} follow"), ends.follower():
            pass
    with ends.follower():
        pass


async def test_one_that_does_not_take_its_ends_loses_the_oldest_and_holds_up_nobody() -> None:
    ends = Ends(None)
    with ends.follower() as asleep, ends.follower() as awake:
        for key in range(0, BUFFER_HINTS + 1000, 1000):
            ends.publish([(key + number, SUCCEEDED) for number in range(1000)])
            heard: list[Any] = []
            while len(heard) < 1000:
                heard += await anext(awake)
            assert heard == [(key + number, SUCCEEDED) for number in range(1000)]
        assert (len(asleep), asleep.dropped) == (BUFFER_HINTS, 1000)


async def test_over_the_wire_the_refusal_has_its_reason_and_one_that_never_reads_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ends_module, "MOST_FOLLOWERS", 1)
    monkeypatch.setattr(propeller_api, "FOLLOWER_SECONDS", 0.05)
    ends = Ends(None)
    shards: Any = ()
    api = PropellerApi(PropellerSettings("", "", "", (), ""), shards, die=lambda: None, ends=ends)
    server = rpc.build("127.0.0.1:0", services={SERVICE: api.register})
    address = await server.start()
    async with Propellers() as propellers, channel.connect(address) as connection:
        call = propeller_pb2_grpc.PropellerStub(connection).Follow(propeller_pb2.FollowRequest())
        await call.initial_metadata()
        with pytest.raises(ResourceExhausted, match="1 follow this replica already"):
            await anext(propellers.follow(address))

        def makes_room() -> bool:
            ends.publish([(2**60 + number, SUCCEEDED) for number in range(BUFFER_HINTS)])
            return not ends._followers

        await until(makes_room)
        assert await anext(propellers.follow(address)) == []
    await server.stop(0)
