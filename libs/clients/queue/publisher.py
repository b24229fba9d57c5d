"""Telling watchers what has been committed."""

from __future__ import annotations

from collections.abc import Callable

import grpc.aio

from libs.clients.queue.client import Client
from libs.clients.streams import converse, opened
from libs.rpc import channel
from libs.rpc.pace import Pace
from libs.rpc.stream import Batcher, WhenFull
from libs.wire.hints import Hint, to_messages
from protos import queue_pb2

Call = grpc.aio.StreamUnaryCall[queue_pb2.PublishRequest, queue_pb2.PublishReply]


class Publisher(Client):
    """Tells the queue service's watchers what has been committed. Best effort.

    Not guaranteed: that a hint arrives. Those on their way when a connection breaks are gone, and while the service is
    away only the youngest `capacity_hints` are kept.
    """

    def __init__(
        self,
        address: str,
        *,
        capacity_hints: int = 10_000,
        connect: Callable[[str], grpc.aio.Channel] = channel.connect,
    ) -> None:
        super().__init__("publisher", address, connect)
        self._waiting: Batcher[Hint] = Batcher(capacity_hints, when_full=WhenFull.DROP_OLDEST)

    def publish(self, id: int, phase: int) -> None:
        """The execution has changed and is in `phase` now. Returns at once."""
        self._waiting.put(Hint(id, phase))

    async def _session(self) -> bool:
        call = self._stub.Publish()
        return await converse(call, send=self._send(call), receive=self._receive(call))

    async def _send(self, call: Call) -> None:
        pace = Pace()
        if await opened(call):
            self._connection.works()
        async for hints in self._waiting:
            await call.write(queue_pb2.PublishRequest(hints=to_messages(hints)))
            self.counters.messages_sent += 1
            self.counters.items_sent += len(hints)
            await pace.rest(len(hints))
        await call.done_writing()

    async def _receive(self, call: Call) -> bool:
        await call
        return self._waiting.closed

    def _close(self) -> None:
        self._waiting.close()
