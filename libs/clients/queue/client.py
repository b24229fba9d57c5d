"""A connection to the queue service, and a task that looks after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Final, Self

import grpc.aio

from libs.clients.streams import Connection, Counters, stay_connected
from libs.rpc import channel
from libs.workflow import errors
from protos import queue_pb2_grpc

logger = logging.getLogger(__name__)

_FLUSH_SECONDS: Final = 1.0
"""How long leaving a context waits for what is still to be sent."""


class Client:
    """A connection to the queue service, and a task of its own that looks after it while the context is open."""

    fatal: ClassVar[tuple[type[errors.AirscrewError], ...]] = ()
    """What ends the task; every other failure of a call is answered by another one."""

    def __init__(self, name: str, address: str, connect: Callable[[str], grpc.aio.Channel] = channel.connect) -> None:
        self._name = name
        self._peer = f"the queue service at {address}"
        self._channel = connect(address)
        self._stub: queue_pb2_grpc.QueueAsyncStub = queue_pb2_grpc.QueueStub(self._channel)
        self._task: asyncio.Task[None] | None = None
        self.counters = Counters()
        self._connection = Connection(self._peer, self.counters)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        try:
            if self._task is not None:
                await _end(self._task, _FLUSH_SECONDS if error is None else 0.0)
        finally:
            await self._channel.close()

    async def _run(self) -> None:
        try:
            await stay_connected(self._connection, self._session, self.fatal)
        except errors.AirscrewError as error:
            logger.warning("%s has ended for good: %s", self._name, error.message)
            raise
        except Exception:
            logger.exception("%s failed", self._name)
            raise

    async def _session(self) -> bool:
        """One call, from its beginning to its end. Returns whether there is nothing left to do."""
        raise NotImplementedError

    def _close(self) -> None:
        """Nothing more is to be sent; what is left may still leave."""
        raise NotImplementedError


async def _end(task: asyncio.Task[None], seconds: float) -> None:
    """Lets the task end by itself for a while, then cancels it. What it failed with has been logged."""
    try:
        await asyncio.wait((task,), timeout=seconds)
    finally:
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
