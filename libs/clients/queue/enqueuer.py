"""Putting keys into the queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import grpc.aio

from libs.clients.queue import keys
from libs.clients.queue.client import Client
from libs.clients.queue.keys import Key
from libs.clients.streams import converse, opened
from libs.rpc import channel
from libs.rpc.pace import Pace
from libs.rpc.stream import Batcher, WhenFull
from protos import queue_pb2

logger = logging.getLogger(__name__)

Call = grpc.aio.StreamStreamCall[queue_pb2.EnqueueRequest, queue_pb2.EnqueueReply]


class Enqueuer(Client):
    """Adds keys to the queue.

    Guarantee: keys arrive in order and at least once while the queue service lives: what it has not acknowledged is
    sent again on the next connection. When more than `capacity_keys` wait, because it is away or full, the oldest are
    dropped with a warning.
    """

    def __init__(
        self,
        address: str,
        *,
        capacity_keys: int = 100_000,
        connect: Callable[[str], grpc.aio.Channel] = channel.connect,
    ) -> None:
        super().__init__("enqueuer", address, connect)
        self._capacity = capacity_keys
        self._waiting: Batcher[Key] = Batcher(capacity_keys, when_full=WhenFull.DROP_OLDEST)
        self._unacknowledged: deque[list[Key]] = deque()
        """Batches that were sent on this connection or an earlier one, oldest first."""
        self._unacknowledged_keys = 0
        self._room = asyncio.Event()
        self._warn_at = 1

    @property
    def unacknowledged(self) -> int:
        """How many keys the queue service has not taken yet."""
        return len(self._waiting) + self._unacknowledged_keys

    @property
    def dropped(self) -> int:
        """How many keys there was no room for here."""
        return self._waiting.dropped

    def enqueue(self, *wanted: Key) -> None:
        """Sends keys some time soon; returns at once. Raises ValueError for what is no key of an execution."""
        for key in wanted:
            if key.id <= 0:
                raise ValueError(f"{key.id} is not the key of an execution")
            self._waiting.put(key)
        if self._waiting.dropped >= self._warn_at:
            logger.warning("%s is away or full: %d keys dropped so far", self._peer, self._waiting.dropped)
            self._warn_at = self._waiting.dropped * 10

    async def _session(self) -> bool:
        call = self._stub.Enqueue()
        return await converse(call, send=self._send(call), receive=self._receive(call))

    async def _send(self, call: Call) -> None:
        pace = Pace()
        seq = 0
        for seq, batch in enumerate(tuple(self._unacknowledged), start=1):
            await self._write(call, seq, batch)
        async for batch in self._waiting:
            seq += 1
            self._unacknowledged.append(batch)
            self._unacknowledged_keys += len(batch)
            await self._write(call, seq, batch)
            while self._unacknowledged_keys > self._capacity:
                self._room.clear()
                await self._room.wait()
            await pace.rest(len(batch))
        await call.done_writing()

    async def _write(self, call: Call, seq: int, batch: list[Key]) -> None:
        await call.write(queue_pb2.EnqueueRequest(seq=seq, keys=[keys.to_message(key) for key in batch]))
        self.counters.messages_sent += 1
        self.counters.items_sent += len(batch)

    async def _receive(self, call: Call) -> bool:
        acknowledged = 0
        if await opened(call):
            self._connection.works()
        while isinstance(reply := await call.read(), queue_pb2.EnqueueReply):
            self.counters.messages_received += 1
            for _ in range(reply.seq - acknowledged):
                self._unacknowledged_keys -= len(self._unacknowledged.popleft())
            acknowledged = reply.seq
            self._room.set()
        return self._waiting.closed and not self._unacknowledged and not self._waiting

    def _close(self) -> None:
        self._waiting.close()
