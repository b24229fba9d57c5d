"""The queue service as an operator sees it: numbers, single keys, and a pause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc.aio

from libs.rpc import channel
from libs.rpc.errors import from_rpc
from libs.workflow import errors
from protos import queue_pb2, queue_pb2_grpc

DEADLINE_SECONDS: Final = 10.0


class Operator:
    """A connection to the queue service; connects with the first call. Errors are those of `libs.workflow.errors`."""

    def __init__(self, address: str) -> None:
        self._channel = channel.connect(address)
        self._stub: queue_pb2_grpc.QueueAsyncStub = queue_pb2_grpc.QueueStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def stats(self) -> queue_pb2.StatsReply:
        with _errors():
            return await self._stub.Stats(queue_pb2.StatsRequest(), timeout=DEADLINE_SECONDS)

    async def inspect(self, request: queue_pb2.InspectRequest) -> queue_pb2.InspectReply:
        with _errors():
            return await self._stub.Inspect(request, timeout=DEADLINE_SECONDS)

    async def pause(self, request: queue_pb2.PauseRequest) -> queue_pb2.PauseReply:
        with _errors():
            return await self._stub.Pause(request, timeout=DEADLINE_SECONDS)

    async def resume(self, request: queue_pb2.ResumeRequest) -> queue_pb2.ResumeReply:
        with _errors():
            return await self._stub.Resume(request, timeout=DEADLINE_SECONDS)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        failure = from_rpc(error)
        if isinstance(failure, errors.Unavailable):
            raise errors.Unavailable(f"the queue service does not answer: {failure.message}") from error
        raise failure from error
