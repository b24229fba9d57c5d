"""The queue service's intakes as `admin` sees them: how far they are, and what they have given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from libs.rpc import channel, errors
from libs.wire import intakes as wire
from libs.workflow.intake import DeadItem, Intake, Progress
from protos import intake_pb2, intake_pb2_grpc

DEADLINE_SECONDS: Final = 20.0


class Intakes:
    """A connection to the queue service; connects with the first call."""

    def __init__(self, address: str) -> None:
        self._channel = channel.connect(address)
        self._stub: intake_pb2_grpc.IntakesAsyncStub = intake_pb2_grpc.IntakesStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def progress(self, intakes: Sequence[Intake]) -> Sequence[Progress]:
        """In the same order. One whose Redis does not answer says so in its note."""
        request = intake_pb2.ProgressRequest(intakes=map(wire.intake_message, intakes))
        with errors.of_rpc():
            reply = await self._stub.Progress(request, timeout=DEADLINE_SECONDS)
        return [wire.progress_of(message) for message in reply.progress]

    async def dead(self, intake: Intake, limit: int) -> Sequence[DeadItem]:
        """The oldest items that were given up."""
        request = intake_pb2.DeadRequest(intake=wire.intake_message(intake), limit=limit)
        with errors.of_rpc():
            reply = await self._stub.Dead(request, timeout=DEADLINE_SECONDS)
        return [wire.dead_of(message) for message in reply.items]

    async def replay(self, intake: Intake, limit: int) -> int:
        """Lets them be taken in once more, all for 0; how many those are."""
        request = intake_pb2.ReplayRequest(intake=wire.intake_message(intake), limit=limit)
        with errors.of_rpc():
            reply = await self._stub.Replay(request, timeout=DEADLINE_SECONDS)
        return reply.replayed
