"""Telling watchers what has been committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import grpc.aio

from libs.clients.queue.client import Client
from libs.clients.streams import converse, opened
from libs.rpc import channel
from libs.rpc.pace import Pace
from libs.rpc.stream import Batcher, WhenFull
from libs.wire.hints import Hint
from libs.workflow.phases import ExecutionPhase
from protos import queue_pb2

Call = grpc.aio.StreamUnaryCall[queue_pb2.PublishRequest, queue_pb2.PublishReply]


GATHER_SECONDS: Final = 0.05
"""How long hints about what goes on may gather: those who watch look at it no more than ten times a second."""

_FINAL = frozenset(int(phase) for phase in ExecutionPhase if phase.terminal)


class Publisher(Client):
    """Tells the queue service's watchers what has been committed. Best effort.

    An end is told at once, unless who wants to know has it from elsewhere. Everything else is told a little later,
    once, with its latest phase: an execution commits far more often than anybody looks at it.

    Not guaranteed: that a hint arrives. Those on their way when a connection breaks are gone, and while the service is
    away only the youngest `capacity_hints` are kept.
    """

    def __init__(
        self,
        address: str,
        *,
        tells_at: str = "",
        capacity_hints: int = 10_000,
        connect: Callable[[str], grpc.aio.Channel] = channel.connect,
    ) -> None:
        """`tells_at` is the address at which others hear of ends directly, if they do."""
        super().__init__("publisher", address, connect)
        self._tells_at = tells_at
        self._waiting: Batcher[Hint] = Batcher(capacity_hints, when_full=WhenFull.DROP_OLDEST)
        self._going_on: dict[int, int] = {}
        """Phases of what goes on, not told yet."""
        self._gathering: asyncio.TimerHandle | None = None

    def publish(self, hints: Iterable[Hint], *, told: bool = False) -> None:
        """These executions have changed and are in these phases now; with `told`, ends need not hurry. Returns at
        once."""
        going_on, ended = self._going_on, list[Hint]()
        for hint in hints:
            id, phase = hint
            if phase in _FINAL and not told:
                going_on.pop(id, None)
                ended.append(hint)
            else:
                going_on[id] = phase
        if ended:
            self._waiting.put_all(ended)
        if going_on and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._tell_what_goes_on)

    def _tell_what_goes_on(self) -> None:
        self._gathering = None
        self._waiting.put_all(list(self._going_on.items()))
        self._going_on.clear()

    async def _session(self) -> bool:
        call = self._stub.Publish()
        return await converse(call, send=self._send(call), receive=self._receive(call))

    async def _send(self, call: Call) -> None:
        pace = Pace()
        if await opened(call):
            self._connection.works()
        async for hints in self._waiting:
            await call.write(
                queue_pb2.PublishRequest(
                    ids=[id for id, _ in hints], phases=[phase for _, phase in hints], address=self._tells_at
                )
            )
            self.counters.messages_sent += 1
            self.counters.items_sent += len(hints)
            await pace.rest(len(hints))
        await call.done_writing()

    async def _receive(self, call: Call) -> bool:
        await call
        return self._waiting.closed

    def _close(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._tell_what_goes_on()
        self._waiting.close()
