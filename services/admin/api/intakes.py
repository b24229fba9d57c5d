"""The part of `airscrew.v1.Airscrew` that is about intakes."""

from __future__ import annotations

from typing import Any

from libs.wire import intakes as wire
from protos import airscrew_pb2, airscrew_pb2_grpc, intake_pb2
from services.admin.intakes import Intakes

_DEAD = 20
"""Items that were given up, in one answer unless more are asked for."""


class IntakeCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Defining intakes, and looking at them."""

    _intakes: Intakes

    async def AddIntake(self, request: airscrew_pb2.AddIntakeRequest, context: Any) -> intake_pb2.Intake:
        return wire.intake_message(await self._intakes.add(wire.intake_of(request.intake)))

    async def ListIntakes(
        self, request: airscrew_pb2.ListIntakesRequest, context: Any
    ) -> airscrew_pb2.ListIntakesReply:
        reply = airscrew_pb2.ListIntakesReply()
        if not request.progress:
            for intake in await self._intakes.list(request.project, request.domain):
                reply.intakes.add(intake=wire.intake_message(intake))
            return reply
        for standing in await self._intakes.standing(request.project, request.domain):
            reply.intakes.add(
                intake=wire.intake_message(standing.intake),
                progress=wire.progress_message(standing.intake.id, standing.progress),
                pending=standing.pending,
            )
        return reply

    async def PauseIntake(self, request: airscrew_pb2.PauseIntakeRequest, context: Any) -> intake_pb2.Intake:
        return wire.intake_message(await self._intakes.pause(wire.id_of(request.id), request.paused))

    async def RemoveIntake(
        self, request: airscrew_pb2.RemoveIntakeRequest, context: Any
    ) -> airscrew_pb2.RemoveIntakeReply:
        await self._intakes.remove(wire.id_of(request.id))
        return airscrew_pb2.RemoveIntakeReply()

    async def ListDeadItems(
        self, request: airscrew_pb2.ListDeadItemsRequest, context: Any
    ) -> airscrew_pb2.ListDeadItemsReply:
        dead = await self._intakes.dead(wire.id_of(request.id), request.limit or _DEAD)
        return airscrew_pb2.ListDeadItemsReply(items=map(wire.dead_message, dead))

    async def ReplayIntake(
        self, request: airscrew_pb2.ReplayIntakeRequest, context: Any
    ) -> airscrew_pb2.ReplayIntakeReply:
        return airscrew_pb2.ReplayIntakeReply(
            replayed=await self._intakes.replay(wire.id_of(request.id), request.limit)
        )

    async def CountPending(
        self, request: airscrew_pb2.CountPendingRequest, context: Any
    ) -> airscrew_pb2.CountPendingReply:
        return airscrew_pb2.CountPendingReply(pending=await self._intakes.pending(wire.id_of(request.id)))
