"""airscrew.intake.v1: how far intakes are, and what they have given up. Looks at Redis, whoever takes in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from libs.wire import intakes as wire
from libs.workflow import intake as definitions
from libs.workflow.errors import AirscrewError
from libs.workflow.intake import Intake
from protos import intake_pb2, intake_pb2_grpc
from services.queue.intake.line import Line

SERVICE = intake_pb2.DESCRIPTOR.services_by_name["Intakes"].full_name


class Intakes(intake_pb2_grpc.IntakesServicer):
    """The service. `line` opens an intake's place in Redis."""

    def __init__(self, line: Callable[[Intake], Line]) -> None:
        self._line = line

    def register(self, server: grpc.aio.Server) -> None:
        """Adds this service to a server."""
        intake_pb2_grpc.add_IntakesServicer_to_server(self, server)

    async def Progress(self, request: intake_pb2.ProgressRequest, context: Any) -> intake_pb2.ProgressReply:
        intakes = [wire.intake_of(message) for message in request.intakes]
        found = await asyncio.gather(*map(self._progress, intakes))
        return intake_pb2.ProgressReply(
            progress=[wire.progress_message(intake.id, one) for intake, one in zip(intakes, found, strict=True)]
        )

    async def Dead(self, request: intake_pb2.DeadRequest, context: Any) -> intake_pb2.DeadReply:
        async with self._open(wire.intake_of(request.intake)) as line:
            found = await line.dead(max(1, request.limit))
        return intake_pb2.DeadReply(items=map(wire.dead_message, found))

    async def Replay(self, request: intake_pb2.ReplayRequest, context: Any) -> intake_pb2.ReplayReply:
        async with self._open(wire.intake_of(request.intake)) as line:
            return intake_pb2.ReplayReply(replayed=await line.replay(request.limit))

    async def _progress(self, intake: Intake) -> definitions.Progress:
        """One whose Redis is away must not hide the others."""
        try:
            async with self._open(intake) as line:
                return await line.progress()
        except AirscrewError as error:
            return definitions.Progress(note=error.message)

    @asynccontextmanager
    async def _open(self, intake: Intake) -> AsyncIterator[Line]:
        line = self._line(intake)
        try:
            yield line
        finally:
            await line.close()
