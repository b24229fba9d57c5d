"""Intakes as the commands see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from libs.rpc import errors
from libs.wire import intakes as wire
from libs.workflow.intake import DeadItem, Intake, IntakeId
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.cli import views

_DEADLINE_SECONDS: Final = 30.0


class Intakes:
    """The calls that are about intakes."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)

    async def add(self, intake: Intake) -> Intake:
        """As the server has settled it."""
        request = airscrew_pb2.AddIntakeRequest(intake=wire.intake_message(intake))
        with errors.of_rpc():
            return wire.intake_of(await self._stub.AddIntake(request, timeout=_DEADLINE_SECONDS))

    async def list(self, project: str, domain: str) -> Sequence[views.Intake]:
        """With how far they are."""
        request = airscrew_pb2.ListIntakesRequest(project=project, domain=domain, progress=True)
        with errors.of_rpc():
            reply = await self._stub.ListIntakes(request, timeout=_DEADLINE_SECONDS)
        return [
            views.Intake(wire.intake_of(entry.intake), wire.progress_of(entry.progress), entry.pending)
            for entry in reply.intakes
        ]

    async def pause(self, id: IntakeId, paused: bool) -> None:
        request = airscrew_pb2.PauseIntakeRequest(id=wire.id_message(id), paused=paused)
        with errors.of_rpc():
            await self._stub.PauseIntake(request, timeout=_DEADLINE_SECONDS)

    async def remove(self, id: IntakeId) -> None:
        request = airscrew_pb2.RemoveIntakeRequest(id=wire.id_message(id))
        with errors.of_rpc():
            await self._stub.RemoveIntake(request, timeout=_DEADLINE_SECONDS)

    async def dead(self, id: IntakeId, limit: int) -> Sequence[DeadItem]:
        """The oldest items that were given up."""
        request = airscrew_pb2.ListDeadItemsRequest(id=wire.id_message(id), limit=limit)
        with errors.of_rpc():
            reply = await self._stub.ListDeadItems(request, timeout=_DEADLINE_SECONDS)
        return [wire.dead_of(message) for message in reply.items]

    async def replay(self, id: IntakeId, limit: int) -> int:
        """How many are taken in once more."""
        request = airscrew_pb2.ReplayIntakeRequest(id=wire.id_message(id), limit=limit)
        with errors.of_rpc():
            return int((await self._stub.ReplayIntake(request, timeout=_DEADLINE_SECONDS)).replayed)
