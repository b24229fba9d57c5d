"""How `admin` hears of ends: from the queue service at first, and then from the leader itself, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest

from libs.clients import propeller
from libs.clients.propeller import Propellers
from libs.clients.queue import Publisher, Subscriber
from libs.rpc import channel
from libs.rpc import server as rpc
from libs.wire.hints import Hint
from libs.workflow.errors import Unavailable
from libs.workflow.phases import ExecutionPhase
from services.admin import ears
from services.admin.ears import Ears
from services.admin.hints import Hints
from services.propeller.api import SERVICE, PropellerApi
from services.propeller.ends import Ends
from services.propeller.settings import PropellerSettings
from tests.support.queue_server import QueueServer
from tests.support.waiting import until

SETTINGS = PropellerSettings("", "", "", (), "secret")
SUCCEEDED, RUNNING = int(ExecutionPhase.SUCCEEDED), int(ExecutionPhase.RUNNING)


class Heard(Hints):
    """Remembers what it was told, and by whom."""

    def __init__(self) -> None:
        super().__init__()
        self.first_hand: list[Hint] = []
        self.passed_on: list[Hint] = []

    def tell_first_hand(self, ends: Sequence[Hint]) -> None:
        self.first_hand += ends
        super().tell_first_hand(ends)

    def tell(self, hints: Iterable[Hint]) -> None:
        hints = list(hints)
        self.passed_on += hints
        super().tell(hints)


@asynccontextmanager
async def replica(queue: QueueServer, address: str) -> AsyncIterator[Ends]:
    """A propeller that serves and publishes, and leads nothing."""
    async with Publisher(queue.address, tells_at=address) as publisher:
        ends = Ends(publisher)
        shards: Any = ()
        api = PropellerApi(SETTINGS, shards, die=lambda: None, ends=ends)
        server = rpc.build(address, services={SERVICE: api.register})
        await server.start()
        try:
            yield ends
        finally:
            ends.close()
            await server.stop(5)


@asynccontextmanager
async def admin(queue: QueueServer) -> AsyncIterator[Heard]:
    """The ears of an `admin`."""
    heard = Heard()

    async def hear(subscriber: Subscriber) -> None:
        async for news in subscriber:
            heard.tell(news.hints)

    async with (
        Propellers() as propellers,
        Ears(propellers, heard) as listening,
        Subscriber(queue.address, listening.follow) as subscriber,
        asyncio.TaskGroup() as group,
    ):
        hearing = group.create_task(hear(subscriber), name="hear")
        await until(lambda: subscriber.counters.connections == 1)
        yield heard
        hearing.cancel()


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"127.0.0.1:{port}"


async def told_first_hand(heard: Heard, ends: Ends, first: int = 100) -> None:
    """Ends executions until one of them is heard of first-hand."""
    for key in range(first, first + 1_000):
        ends.publish([(key, SUCCEEDED)])
        await until(lambda key=key: (key, SUCCEEDED) in (*heard.first_hand, *heard.passed_on))  # type: ignore[misc]
        if (key, SUCCEEDED) in heard.first_hand:
            return
    raise AssertionError("it was never followed")


async def test_who_is_named_by_the_queue_is_followed(queue_server: QueueServer, address: str) -> None:
    async with replica(queue_server, address) as ends, admin(queue_server) as heard:
        ends.publish([(1, SUCCEEDED)])
        await until(lambda: heard.passed_on == [(1, SUCCEEDED)])
        await told_first_hand(heard, ends)


async def test_what_was_told_first_hand_is_published_too_but_wakes_nobody_twice(
    queue_server: QueueServer, address: str
) -> None:
    async with replica(queue_server, address) as ends, admin(queue_server) as heard:
        await told_first_hand(heard, ends)
        with heard.bell(7) as bell:
            ends.publish([(7, SUCCEEDED), (8, RUNNING)])
            await asyncio.wait_for(bell.wait(30), 5)
            assert heard.first_hand[-1] == (7, SUCCEEDED)
            await until(lambda: (7, SUCCEEDED) in heard.passed_on)
            assert (8, RUNNING) in heard.passed_on
            assert not bell._rung


async def test_a_replica_that_comes_back_is_followed_again(
    queue_server: QueueServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (0.01, 0.01))
    async with admin(queue_server) as heard:
        async with replica(queue_server, address) as ends:
            await told_first_hand(heard, ends)
        async with replica(queue_server, address) as ends:
            await told_first_hand(heard, ends, 5_000)


async def test_who_does_not_answer_any_more_is_named_anew_when_it_publishes(
    queue_server: QueueServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(ears, "GIVE_UP_SECONDS", 0.1)
    async with admin(queue_server) as heard:
        async with replica(queue_server, address) as ends:
            await told_first_hand(heard, ends)
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("follow ")])
        async with replica(queue_server, address) as ends:
            await told_first_hand(heard, ends, 5_000)


@asynccontextmanager
async def deaf(address: str) -> AsyncIterator[list[float]]:
    """Somebody who hangs up on whoever connects, and when that was."""
    calls: list[float] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(asyncio.get_running_loop().time())
        writer.close()

    host, _, port = address.rpartition(":")
    async with await asyncio.start_server(hang_up, host, int(port)):
        yield calls


async def test_of_who_is_not_followed_any_more_no_connection_is_left(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ears, "AGAIN_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(ears, "GIVE_UP_SECONDS", 0.1)
    made: list[grpc.aio.Channel] = []

    def connect(address: str) -> grpc.aio.Channel:
        made.append(channel.connect(address))
        return made[-1]

    monkeypatch.setattr(propeller, "channel", SimpleNamespace(connect=connect))
    async with deaf(address) as calls, Propellers() as propellers, Ears(propellers, Hints()) as listening:
        listening.follow(address)
        await until(lambda: not listening._following)
        assert calls
        assert made
        for each in made:
            assert each.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        before = len(calls)
        await asyncio.sleep(0.5)  # gRPC would try again after 0.1 s to 0.3 s
        assert len(calls) == before
    assert f"the propeller at {address}, which is where it says to be, cannot be followed" in caplog.text


async def test_connections_that_nobody_uses_any_more_are_closed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Propellers() as propellers:
        await propellers.look(address, 0)
        (first,) = propellers._connections.values()
        await propellers.look(address, 0)
        await propellers.look("127.0.0.1:1", 0)
        assert propellers._connections[address] is first
        monkeypatch.setattr(propeller, "UNUSED_SECONDS", 0.0)
        with pytest.raises(Unavailable):
            await propellers.executors("127.0.0.1:1", 0)
        assert address not in propellers._connections
        assert first.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
