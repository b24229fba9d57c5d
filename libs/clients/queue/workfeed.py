"""Taking keys of a shard out of the queue, as its leader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self

import grpc.aio

from libs.clients.queue import keys
from libs.clients.queue.client import Client
from libs.clients.queue.keys import Key
from libs.clients.streams import converse, opened
from libs.rpc import channel
from libs.rpc.pace import Pace
from libs.rpc.stream import Batcher
from libs.workflow import errors
from protos import queue_pb2

Call = grpc.aio.StreamStreamCall[queue_pb2.WorkRequest, queue_pb2.WorkReply]

GATHER_SECONDS: Final = 0.02
"""How long the ends of leases may gather: nobody waits for them but a key that was enqueued again meanwhile."""


class Leased(NamedTuple):
    """A key that is ours until `WorkFeed.done` or `retry`, or until the connection on which it came ends."""

    call: int
    number: int
    key: Key
    waited_us: int
    """Time since the key became due."""


class _Answer(NamedTuple):
    """What becomes of a lease: done, or handed back when `retry_us` is not None."""

    number: int
    retry_us: int | None


class WorkFeed(Client):
    """Keys of one shard, for the leader of one epoch: `async for leases in feed` gives lists of `Leased`.

    Guarantees: a key is leased to nobody else until it is `done` or handed back by `retry`, or until the connection on
    which it came ends. Then all leases of that connection are void: those not given out yet are dropped, and what is
    said about the others is ignored, because their keys will be delivered again. Leaving the context hands back what is
    not done.

    Iterating raises `FailedPrecondition` when a higher epoch has opened the shard, and ends when the context is left.

    Args:
        credits: how many leases may be outstanding at a time.
    """

    fatal = (errors.FailedPrecondition, errors.InvalidArgument)

    def __init__(
        self,
        address: str,
        shard: int,
        epoch: int,
        propeller: str,
        *,
        credits: int = 4096,
        connect: Callable[[str], grpc.aio.Channel] = channel.connect,
    ) -> None:
        super().__init__(f"work-{shard}-{epoch}", address, connect)
        self._open = queue_pb2.WorkRequest.Open(shard=shard, epoch=epoch, propeller=propeller)
        self._credits = credits
        self._calls = 0
        self._take: Callable[[Sequence[Leased]], Sequence[Leased]] | None = None
        self._received: list[Leased] = []
        """Leased and not given out; at most `credits`."""
        self._outstanding: set[int] = set()
        """Leases of this call that are not done."""
        self._answers: Batcher[_Answer] = Batcher(credits)
        self._done: list[int] = []
        """Leases that are done, which is not told yet; a fraction of the credits at most."""
        self._gathering: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._closed = False
        self._paused_until = float("-inf")
        """By the loop's clock."""
        self.informed = asyncio.Event()
        """Set while it is known whether the queue is paused, which the service tells first in every connection."""

    @property
    def paused(self) -> bool:
        """Whether somebody has paused the queue, as far as is known: without a connection nobody has."""
        return asyncio.get_running_loop().time() < self._paused_until

    def hand_over(self, take: Callable[[Sequence[Leased]], Sequence[Leased]]) -> None:
        """`take` gets leases in the moment in which they come, and returns those that it leaves to whoever iterates."""
        self._take = take

    def done(self, leased: Leased) -> None:
        """The key is dealt with. That is told a little later, or as soon as others wait for its credit."""
        if self._give_up(leased):
            self._done.append(leased.number)
            if len(self._done) * 8 >= self._credits:
                self._tell_done()
            elif self._gathering is None:
                self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._tell_done)

    def retry(self, leased: Leased, after_us: int = 0) -> None:
        """Hands the key back, to be delivered again after a while, to whoever leads then."""
        if self._give_up(leased):
            self._answers.put(_Answer(leased.number, after_us))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Leased]:
        while not self._received:
            if self._closed or self._task is None:
                raise StopAsyncIteration
            if self._task.done():
                self._task.result()
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        received, self._received = self._received, []
        return received

    async def _run(self) -> None:
        try:
            await super()._run()
        finally:
            asyncio.get_running_loop().call_soon(self._news.set)  # whoever iterates has to see that this task is done

    async def _session(self) -> bool:
        if self._closed:
            return True
        self._calls += 1
        self._answers = Batcher(self._credits)
        call = self._stub.Work()
        try:
            return await converse(call, send=self._send(call), receive=self._receive(call))
        finally:
            self._received.clear()
            self._outstanding.clear()
            self._forget_done()
            self._paused_until = float("-inf")
            self.informed.clear()

    def _give_up(self, leased: Leased) -> bool:
        """Whether we have that lease; from now on we have it no more."""
        ours = leased.call == self._calls and leased.number in self._outstanding
        if ours:
            self._outstanding.discard(leased.number)
        return ours

    def _tell_done(self) -> None:
        self._answers.put_all([_Answer(number, None) for number in self._forget_done()])

    def _forget_done(self) -> list[int]:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        done, self._done = self._done, []
        return done

    async def _send(self, call: Call) -> None:
        pace = Pace()
        await call.write(queue_pb2.WorkRequest(open=self._open, credits=self._credits))
        self.counters.messages_sent += 1
        async for answers in self._answers:
            request = queue_pb2.WorkRequest(
                done=[number for number, retry_us in answers if retry_us is None],
                retry=[
                    queue_pb2.WorkRequest.Retry(lease=number, after_us=retry_us)
                    for number, retry_us in answers
                    if retry_us is not None
                ],
            )
            await call.write(request)
            self.counters.messages_sent += 1
            self.counters.items_sent += len(answers)
            await pace.rest(len(answers))
        await call.done_writing()

    async def _receive(self, call: Call) -> bool:
        if await opened(call):
            self._connection.works()
        while isinstance(reply := await call.read(), queue_pb2.WorkReply):
            self.counters.messages_received += 1
            self.counters.items_received += len(reply.leases)
            if reply.HasField("paused_us"):
                self._paused_until = asyncio.get_running_loop().time() + reply.paused_us / 1e6
                self.informed.set()
            self._outstanding.update(lease.lease for lease in reply.leases)
            leases: Sequence[Leased] = [
                Leased(self._calls, lease.lease, keys.of_message(lease.key), lease.waited_us) for lease in reply.leases
            ]
            if self._take is not None:
                leases = self._take(leases)
            if leases:
                self._received += leases
                self._news.set()
        return self._closed

    def _close(self) -> None:
        self._closed = True
        self._received.clear()
        self._tell_done()
        self._answers.close()
        self._news.set()
