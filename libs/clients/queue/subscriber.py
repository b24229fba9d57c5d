"""Hearing what has been committed."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc.aio

from libs.clients.streams import ENDED, Connection, Counters, opened
from libs.rpc import channel
from libs.rpc.errors import from_rpc
from libs.wire.hints import News, hints_in
from protos import queue_pb2, queue_pb2_grpc

Call = grpc.aio.UnaryStreamCall[queue_pb2.SubscribeRequest, queue_pb2.SubscribeReply]


class Subscriber:
    """What has been committed from now on: `async for news in subscriber` inside its context, for ever.

    Each new connection begins with a `News` that has lagged, the first one included: from then on nothing is missed
    that is not said to be.
    """

    def __init__(self, address: str, publisher: Callable[[str], None] | None = None) -> None:
        """`publisher` is told the address of whoever tells ends directly, with all news that come from there."""
        self._publisher = publisher
        self._channel = channel.connect(address)
        self._stub: queue_pb2_grpc.QueueAsyncStub = queue_pb2_grpc.QueueStub(self._channel)
        self._call: Call | None = None
        self.counters = Counters()
        self._connection = Connection(f"the queue service at {address}", self.counters)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> News:
        while True:
            try:
                news = await self._next()
            except grpc.aio.AioRpcError as error:
                news, reason = None, from_rpc(error).message
            else:
                reason = ENDED
            if news is not None:
                return news
            self._call = None
            await self._connection.pause(reason)

    async def _next(self) -> News | None:
        """The next news; None when the server has ended the stream."""
        if self._call is None or self._call.done():
            self._call = self._stub.Subscribe(queue_pb2.SubscribeRequest())
            if await opened(self._call):
                self._connection.works()
                return News([], lagged=True)
        reply = await self._call.read()
        if not isinstance(reply, queue_pb2.SubscribeReply):
            return None
        self.counters.messages_received += 1
        self.counters.items_received += len(reply.ids)
        if self._publisher is not None:
            for address in reply.publishers:
                self._publisher(address)
        return News(hints_in(reply), reply.lagged)
