"""`flyteidl.service.SignalService`. `GetOrCreateSignal` is FlytePropeller's own and answers UNIMPLEMENTED."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import signal_pb2
from flyteidl.service import signal_pb2_grpc

from libs.rpc import server
from libs.workflow.errors import InvalidArgument
from services.admin import encode, identifiers, paging
from services.admin.api.checked import checked
from services.admin.gates import Gates


@server.unimplemented
@checked
class SignalApi(signal_pb2_grpc.SignalServiceServicer):
    """Signals of gate nodes."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    async def SetSignal(self, request: signal_pb2.SignalSetRequest, context: Any) -> signal_pb2.SignalSetResponse:
        owner = identifiers.execution(request.id.execution_id, "id.execution_id")
        name = identifiers.required(request.id.signal_id, "id.signal_id")
        if not request.HasField("value"):
            raise InvalidArgument("value: missing")
        await self._gates.give(owner, name, request.value)
        return signal_pb2.SignalSetResponse()

    async def ListSignals(self, request: signal_pb2.SignalListRequest, context: Any) -> signal_pb2.SignalList:
        owner = identifiers.execution(request.workflow_execution_id, "workflow_execution_id")
        page = await self._gates.list(owner, paging.query(request))
        return signal_pb2.SignalList(signals=map(encode.signal, page.items), token=page.token)
