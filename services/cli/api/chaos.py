"""Breaking things on purpose, through `admin`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from libs.rpc import errors
from protos import airscrew_pb2, airscrew_pb2_grpc

_What = airscrew_pb2.KillLeaderReply.What


@dataclass(frozen=True, slots=True)
class Step:
    """Something that has happened to the leadership of a shard."""

    what: str
    """`killed`, `claimed`, `committed` or `warm`."""
    shard: int
    seconds: float
    """Since the kill."""
    holder: str
    address: str
    epoch: int
    executions: int

    def as_json(self) -> dict[str, Any]:
        told = {
            "what": self.what,
            "shard": self.shard,
            "seconds": self.seconds,
            "holder": self.holder,
            "address": self.address,
            "epoch": self.epoch,
        }
        return told | ({"executions": self.executions} if self.what == "warm" else {})


class Chaos:
    """The calls that break something."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)

    async def kill_leader(self, shard: int, patience_seconds: float) -> AsyncIterator[Step]:
        """Kills the process that leads a shard; what happens then, as it happens, until another one has taken over.

        Raises PermissionDenied, FailedPrecondition when nobody leads, DeadlineExceeded when nobody takes over in time.
        """
        request = airscrew_pb2.KillLeaderRequest(shard=shard, patience_us=round(patience_seconds * 1e6))
        with errors.of_rpc():
            async for reply in self._stub.KillLeader(request):
                yield Step(
                    what=_What.Name(reply.what).removeprefix("WHAT_").lower(),
                    shard=reply.shard,
                    seconds=reply.after_us / 1e6,
                    holder=reply.holder,
                    address=reply.address,
                    epoch=reply.epoch,
                    executions=reply.executions,
                )
