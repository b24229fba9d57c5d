"""The executor's side of the wire: `airscrew.propeller.v1.Propeller/Session` and the messages on it, as our values.

Decode, call, encode, nothing else. The channel lives exactly as long as the session: leaving `PropellerClient.session`
closes both, so that whoever comes next finds the old session ended.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

import grpc.aio

from libs.rpc import channel as channels
from libs.rpc import errors as statuses
from libs.wire import codec
from libs.wire.session import FromExecutor, LeaderSays
from protos import propeller_pb2, propeller_pb2_grpc


class Propellers(Protocol):
    """How propellers are reached: gRPC, or anything else that carries the same values in order."""

    def session(
        self, address: str, outgoing: AsyncIterator[list[FromExecutor]]
    ) -> AbstractAsyncContextManager[AsyncIterator[LeaderSays]]:
        """A session with the propeller at `address`; each list of `outgoing` becomes one message."""


class PropellerClient:
    """`Propellers` over gRPC. Errors are those of `libs.workflow.errors`."""

    def __init__(self, token: str, connect: Callable[[str], grpc.aio.Channel] = channels.connect) -> None:
        self._connect = connect
        self._metadata = (("authorization", f"Bearer {token}"),)

    @asynccontextmanager
    async def session(
        self, address: str, outgoing: AsyncIterator[list[FromExecutor]]
    ) -> AsyncIterator[AsyncIterator[LeaderSays]]:
        async with self._connect(address) as channel:
            call = propeller_pb2_grpc.PropellerStub(channel).Session(_encoded(outgoing), metadata=self._metadata)
            try:
                async with aclosing(_decoded(call)) as incoming:
                    yield incoming
            finally:
                call.cancel()


async def _encoded(
    outgoing: AsyncIterator[list[FromExecutor]],
) -> AsyncIterator[propeller_pb2.ExecutorMessage]:
    async for batch in outgoing:
        yield codec.encode_executor(batch)


async def _decoded(call: AsyncIterable[propeller_pb2.LeaderMessage]) -> AsyncGenerator[LeaderSays, None]:
    try:
        async for message in call:
            yield codec.decode_leader(message)
    except grpc.aio.AioRpcError as error:
        raise statuses.from_rpc(error) from error
