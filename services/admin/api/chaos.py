"""The part of `airscrew.v1.Airscrew` that breaks things on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from libs.workflow.errors import InvalidArgument
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.admin.takeover import Step, TakeOvers, What

PATIENCE_US = 60_000_000

_WHAT = {
    What.KILLED: airscrew_pb2.KillLeaderReply.WHAT_KILLED,
    What.CLAIMED: airscrew_pb2.KillLeaderReply.WHAT_CLAIMED,
    What.COMMITTED: airscrew_pb2.KillLeaderReply.WHAT_COMMITTED,
    What.WARM: airscrew_pb2.KillLeaderReply.WHAT_WARM,
}


class ChaosCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Killing a leader."""

    _take_overs: TakeOvers

    async def KillLeader(
        self, request: airscrew_pb2.KillLeaderRequest, context: Any
    ) -> AsyncIterator[airscrew_pb2.KillLeaderReply]:
        if request.patience_us < 0:
            raise InvalidArgument(f"patience_us: {request.patience_us} is negative")
        async for step in self._take_overs.of_killed_leader(request.shard, request.patience_us or PATIENCE_US):
            yield _reply(step)


def _reply(step: Step) -> airscrew_pb2.KillLeaderReply:
    return airscrew_pb2.KillLeaderReply(
        what=_WHAT[step.what],
        shard=step.leader.shard,
        after_us=step.after_us,
        holder=step.leader.holder,
        address=step.leader.address,
        epoch=step.leader.epoch,
        executions=step.executions,
    )
