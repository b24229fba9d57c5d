"""Asking a leader how things stand, and hearing of ends. Sessions of executors are their own business, and not in here.

A leader that does not answer in time is no error of whoever asks: `status` says None.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import grpc.aio

from libs.clients.streams import opened
from libs.rpc import channel, errors
from libs.wire import codec
from libs.wire.hints import Hint, hints_in
from libs.workflow.errors import Unavailable
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from protos import propeller_pb2, propeller_pb2_grpc

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 1.0
COLLECTION_SECONDS = 5.0
"""It waits for whatever the collector does with the store just now."""
PREVIEW_SECONDS = 60.0
"""It looks at very many rows, and measures blobs."""
UNUSED_SECONDS = 2 * PREVIEW_SECONDS
"""How long a connection is kept that nobody uses: longer than any call lasts. Each replica has an address of its own,
and an address that nobody has any more would be tried for ever."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attempt that waits for a slot. The fields are those of `airscrew.propeller.v1.StatusReply.Waiting`."""

    since_us: int
    asked: Slots
    reason: str = ""
    ahead: int = 0
    in_project: int = 0
    running: int = 0
    limit: int = 0
    kept: str = ""
    starting: bool = False
    elsewhere: Slots = field(default_factory=Slots)


@dataclass(frozen=True, slots=True)
class ExecutorStatus:
    """An executor as its leader sees it."""

    executor: str
    connected: bool
    silent_us: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """How a shard stands with a replica of the propeller."""

    leading: bool
    leader: str = ""
    """Where the leader is, as far as that replica knows; empty when nobody leads."""
    waiting: Mapping[AttemptId, Waiting] = field(default_factory=dict)
    executors: Mapping[str, ExecutorStatus] = field(default_factory=dict)
    grace_us: int = 0
    began_us: int = 0
    """When it began to lead, by its own clock; so are the others."""
    first_commit_us: int = 0
    """0 while nothing was committed."""
    synced_us: int = 0
    """When all executions that were live when it began were warm; 0 before."""
    executions: int = 0
    """In its memory."""


@dataclass(slots=True)
class _Connection:
    channel: grpc.aio.Channel
    used: float = 0.0
    """When somebody used it last, by the monotonic clock."""


class Propellers:
    """Asks replicas, and keeps the connections that are used. Use as an async context manager."""

    def __init__(self) -> None:
        self._connections: dict[str, _Connection] = {}

    async def __aenter__(self) -> Propellers:
        return self

    async def __aexit__(self, *failure: object) -> None:
        while self._connections:
            await self._connections.popitem()[1].channel.close()

    async def status(self, address: str, shard: int, attempts: Sequence[AttemptId]) -> Status | None:
        """How a shard stands with the replica at `address`, and those of `attempts` that wait for a slot."""
        reply = await self.look(address, shard, attempts)
        return None if reply is None else _status(reply, shard)

    async def look(
        self, address: str, shard: int, attempts: Sequence[AttemptId] = ()
    ) -> propeller_pb2.StatusReply | None:
        """As `status`, with all that is told."""
        request = propeller_pb2.StatusRequest(attempts=map(codec.attempt_message, attempts), shard=shard)
        try:
            stub = await self._stub(address)
            return await stub.Status(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            logger.info("the leader at %s does not answer: %s", address, error.details())
            return None

    async def executors(self, address: str, shard: int) -> Sequence[propeller_pb2.StatusReply.Executor]:
        """The executors that the leader of a shard at `address` knows. Raises Unavailable when it does not answer."""
        with errors.of_rpc():
            request = propeller_pb2.StatusRequest(shard=shard)
            stub = await self._stub(address)
            reply = await stub.Status(request, timeout=DEADLINE_SECONDS)
        return reply.executors

    async def drain(self, address: str, executor: str, grace_us: int) -> None:
        """Raises NotFound when the executor is not connected to the leader at `address`."""
        request = propeller_pb2.DrainRequest(executor=executor, grace_us=grace_us)
        with errors.of_rpc():
            stub = await self._stub(address)
            await stub.Drain(request, timeout=DEADLINE_SECONDS)

    async def die(self, address: str, shard: int, epoch: int) -> None:
        """Ends the process of the leader at `address` as SIGKILL does; returns when it is gone.

        Raises PermissionDenied when it does not allow that, FailedPrecondition when it does not lead the shard in that
        epoch, and Unavailable when it does not answer, in which case it may be gone.
        """
        with errors.of_rpc():
            stub = await self._stub(address)
            call = stub.Die(timeout=DEADLINE_SECONDS)
            await call.write(propeller_pb2.DieRequest(shard=shard, epoch=epoch))
            if await call.read() is grpc.aio.EOF:
                raise Unavailable(f"{address} did not answer")
            with suppress(grpc.aio.AioRpcError):
                await call.done_writing()
                await call.read()

    async def follow(self, address: str) -> AsyncGenerator[list[Hint], None]:
        """The ends that the replica at `address` commits from now on; nothing, first, as soon as it has heard.

        Ends when the replica stops. Raises what its failure is. Over a connection of its own, which goes with it.
        """
        with errors.of_rpc():
            async with channel.connect(address) as connection:
                call = _stub_of(connection).Follow(propeller_pb2.FollowRequest())
                if await opened(call):
                    yield []
                async for reply in call:
                    yield hints_in(reply)

    async def collection(self, address: str, shard: int, begin: bool) -> propeller_pb2.CollectionReply:
        """How garbage collection of a shard stands with its leader at `address`; with `begin` a pass begins at once."""
        request = propeller_pb2.CollectionRequest(shard=shard, begin=begin)
        with errors.of_rpc():
            stub = await self._stub(address)
            return await stub.Collection(request, timeout=COLLECTION_SECONDS)

    async def preview_collection(
        self, address: str, shard: int, days: float | None
    ) -> Sequence[propeller_pb2.PreviewCollectionReply.Project]:
        """What the leader of a shard at `address` would collect; `days` instead of what is configured."""
        request = propeller_pb2.PreviewCollectionRequest(shard=shard, days=days)
        with errors.of_rpc():
            stub = await self._stub(address)
            return (await stub.PreviewCollection(request, timeout=PREVIEW_SECONDS)).projects

    async def _stub(self, address: str) -> propeller_pb2_grpc.PropellerAsyncStub:
        """Closes what has not been used for long, too."""
        now = time.monotonic()
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = _Connection(channel.connect(address))
        connection.used = now
        unused = [each for each, of in self._connections.items() if now - of.used > UNUSED_SECONDS]
        for other in [self._connections.pop(each) for each in unused]:
            await other.channel.close()
        return _stub_of(connection.channel)


def _stub_of(connection: grpc.aio.Channel) -> propeller_pb2_grpc.PropellerAsyncStub:
    stub: propeller_pb2_grpc.PropellerAsyncStub = propeller_pb2_grpc.PropellerStub(connection)
    return stub


def _status(reply: propeller_pb2.StatusReply, shard: int) -> Status:
    return Status(
        leading=reply.leading,
        leader=next((leader.address for leader in reply.leaders if leader.shard == shard), ""),
        waiting={codec.attempt(each.attempt): _waiting(each) for each in reply.waiting},
        executors={each.executor: _executor(each) for each in reply.executors},
        grace_us=reply.grace_us,
        began_us=reply.began_us,
        first_commit_us=reply.first_commit_us,
        synced_us=reply.synced_us,
        executions=reply.executions,
    )


def _waiting(message: propeller_pb2.StatusReply.Waiting) -> Waiting:
    return Waiting(
        since_us=message.since_us,
        asked=codec.slots(message.asked),
        reason=message.reason,
        ahead=message.ahead,
        in_project=message.in_project,
        running=message.running,
        limit=message.limit,
        kept=message.kept,
        starting=message.starting,
        elsewhere=codec.slots(message.elsewhere),
    )


def _executor(message: propeller_pb2.StatusReply.Executor) -> ExecutorStatus:
    return ExecutorStatus(message.executor, message.connected, message.silent_us, message.trouble)
