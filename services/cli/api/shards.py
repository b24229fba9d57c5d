"""Shards as the commands see them, through `admin`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import grpc

from libs.rpc import errors
from protos import airscrew_pb2, airscrew_pb2_grpc

_DEADLINE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Shard:
    """Who leads a shard, and what it has to do. All but the first four is 0 while nobody leads."""

    shard: int
    leader: str
    """The replica that has claimed it last; empty when nobody ever has."""
    address: str
    epoch: int
    claimed_at_us: int
    leading: bool
    """Whether it answers as the leader now."""
    executions: int
    """In its memory."""
    cold: int
    """Executions that it has taken over and that had no turn yet."""
    pending_attempts: int
    """Attempts that wait for a slot."""
    executors: int
    """Connected."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Shards:
    """The calls that are about shards."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)

    async def list(self) -> Sequence[Shard]:
        """All, in order."""
        with errors.of_rpc():
            reply = await self._stub.ListShards(airscrew_pb2.ListShardsRequest(), timeout=_DEADLINE_SECONDS)
        return tuple(map(_shard, reply.shards))


def _shard(message: airscrew_pb2.ListShardsReply.Shard) -> Shard:
    return Shard(
        shard=message.shard,
        leader=message.holder,
        address=message.address,
        epoch=message.epoch,
        claimed_at_us=message.claimed_at_us,
        leading=message.leading,
        executions=message.executions,
        cold=message.cold,
        pending_attempts=message.pending_attempts,
        executors=message.executors,
    )
