"""`admin` as the queue service's intake sees it: what to take in, and where executions are created.

Every call has a deadline. What the server refuses, and that it does not answer, are errors of `libs.workflow.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2
from flyteidl.service.admin_pb2_grpc import AdminServiceStub

from libs.rpc import channel, errors
from libs.wire import intakes as wire
from libs.workflow import intake
from libs.workflow.identity import EntityId
from libs.workflow.intake import Intake, IntakeId
from protos import airscrew_pb2, airscrew_pb2_grpc

DEADLINE_SECONDS: Final = 15.0


class Admin:
    """A connection to `admin`; connects with the first call."""

    def __init__(self, address: str) -> None:
        self._channel = channel.connect(address)
        self._flyte = AdminServiceStub(self._channel)
        self._airscrew: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def intakes(self) -> Sequence[Intake]:
        """All that are defined."""
        with errors.of_rpc():
            reply = await self._airscrew.ListIntakes(airscrew_pb2.ListIntakesRequest(), timeout=DEADLINE_SECONDS)
        return [wire.intake_of(entry.intake) for entry in reply.intakes]

    async def pending(self, id: IntakeId) -> int:
        """How many of an intake's executions are not final."""
        request = airscrew_pb2.CountPendingRequest(id=wire.id_message(id))
        with errors.of_rpc():
            reply = await self._airscrew.CountPending(request, timeout=DEADLINE_SECONDS)
        return reply.pending

    async def expected_inputs(self, plan: EntityId) -> interface_pb2.ParameterMap:
        """What launching asks for. Never changes."""
        with errors.of_rpc():
            found = await self._flyte.GetLaunchPlan(
                common_pb2.ObjectGetRequest(id=_identifier(plan)), timeout=DEADLINE_SECONDS
            )
        expected: interface_pb2.ParameterMap = found.closure.expected_inputs
        return expected

    async def create(self, taken: Intake, name: str, inputs: literals_pb2.LiteralMap) -> None:
        """Creates an execution of an intake's launch plan; durable when this returns.

        Raises AlreadyExists when it was there, InvalidArgument when the inputs do not fit.
        """
        request: Any = execution_pb2.ExecutionCreateRequest(
            project=taken.id.project, domain=taken.id.domain, name=name, inputs=inputs
        )
        request.spec.launch_plan.CopyFrom(_identifier(taken.launch_plan))
        request.spec.metadata.mode = execution_pb2.ExecutionMetadata.SYSTEM
        request.spec.metadata.principal = f"intake {taken.id.name}"
        request.spec.tags.append(intake.tag(taken.id))
        with errors.of_rpc():
            await self._flyte.CreateExecution(request, timeout=DEADLINE_SECONDS)


def _identifier(plan: EntityId) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.LAUNCH_PLAN,
        project=plan.project,
        domain=plan.domain,
        name=plan.name,
        version=plan.version,
    )
