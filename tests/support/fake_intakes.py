"""The part of a fake `admin` that is about intakes: keeps what it is told, answers what a test wants."""

from __future__ import annotations

from typing import NoReturn

import grpc

from protos import airscrew_pb2, airscrew_pb2_grpc, intake_pb2


class Intakes:
    """By name, of one project and domain."""

    def __init__(self) -> None:
        self.defined: dict[str, intake_pb2.Intake] = {}
        self.progress: dict[str, intake_pb2.Progress] = {}
        self.pending = 0
        self.dead: list[intake_pb2.DeadItem] = []
        self.replayed: list[int] = []
        """The limits that were asked for."""


class IntakeCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Answers from `Intakes`."""

    intakes: Intakes

    def AddIntake(self, request: airscrew_pb2.AddIntakeRequest, context: grpc.ServicerContext) -> intake_pb2.Intake:
        added = intake_pb2.Intake()
        added.CopyFrom(request.intake)
        added.launch_plan.version = added.launch_plan.version or "v9"
        self.intakes.defined[added.id.name] = added
        return added

    def ListIntakes(
        self, request: airscrew_pb2.ListIntakesRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.ListIntakesReply:
        reply = airscrew_pb2.ListIntakesReply()
        for name, intake in self.intakes.defined.items():
            reply.intakes.add(intake=intake, progress=self.intakes.progress.get(name), pending=self.intakes.pending)
        return reply

    def PauseIntake(self, request: airscrew_pb2.PauseIntakeRequest, context: grpc.ServicerContext) -> intake_pb2.Intake:
        found = self._found(request.id.name, context)
        found.paused = request.paused
        return found

    def RemoveIntake(
        self, request: airscrew_pb2.RemoveIntakeRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.RemoveIntakeReply:
        self._found(request.id.name, context)
        del self.intakes.defined[request.id.name]
        return airscrew_pb2.RemoveIntakeReply()

    def ListDeadItems(
        self, request: airscrew_pb2.ListDeadItemsRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.ListDeadItemsReply:
        return airscrew_pb2.ListDeadItemsReply(items=self.intakes.dead[: request.limit])

    def ReplayIntake(
        self, request: airscrew_pb2.ReplayIntakeRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.ReplayIntakeReply:
        self.intakes.replayed.append(request.limit)
        return airscrew_pb2.ReplayIntakeReply(replayed=request.limit or len(self.intakes.dead))

    def CountPending(
        self, request: airscrew_pb2.CountPendingRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.CountPendingReply:
        return airscrew_pb2.CountPendingReply(pending=self.intakes.pending)

    def _found(self, name: str, context: grpc.ServicerContext) -> intake_pb2.Intake:
        if name not in self.intakes.defined:
            _unknown(name, context)
        return self.intakes.defined[name]


def _unknown(name: str, context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.NOT_FOUND, f"there is no intake {name}")
