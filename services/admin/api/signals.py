"""`flyteidl.service.SignalService`: no workflow can have a gate yet, so there are no signals."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import signal_pb2
from flyteidl.service import signal_pb2_grpc

from libs.rpc import server
from libs.workflow.errors import NotFound
from services.admin import identifiers
from services.admin.api.checked import checked


@server.unimplemented
@checked
class SignalApi(signal_pb2_grpc.SignalServiceServicer):
    """Signals of gate nodes. Clients retry `SetSignal` until the gate has created its signal."""

    async def SetSignal(self, request: signal_pb2.SignalSetRequest, context: Any) -> signal_pb2.SignalSetResponse:
        owner = identifiers.execution(request.id.execution_id, "id.execution_id")
        name = identifiers.required(request.id.signal_id, "id.signal_id")
        raise NotFound(f"id: execution {owner} has no signal {name!r}")

    async def ListSignals(self, request: signal_pb2.SignalListRequest, context: Any) -> signal_pb2.SignalList:
        identifiers.execution(request.workflow_execution_id, "workflow_execution_id")
        return signal_pb2.SignalList()
