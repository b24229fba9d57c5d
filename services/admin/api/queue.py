"""The part of `airscrew.v1.Airscrew` that is about the queue service. Keys get the names of their executions here."""

from __future__ import annotations

from typing import Any

from libs.clients.queue import Operator
from libs.store.executions import Executions
from protos import airscrew_pb2, airscrew_pb2_grpc, queue_pb2
from services.admin import encode


class QueueCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Looking at the queue, and pausing it."""

    _queue: Operator
    _executions: Executions

    async def GetQueue(self, request: queue_pb2.StatsRequest, context: Any) -> queue_pb2.StatsReply:
        return await self._queue.stats()

    async def InspectQueue(self, request: queue_pb2.InspectRequest, context: Any) -> airscrew_pb2.InspectQueueReply:
        entries = (await self._queue.inspect(request)).entries
        found = await self._executions.get_by_key(list({entry.key.id for entry in entries}))
        ids = {record.execution.key: record.execution.id for record in found}
        return airscrew_pb2.InspectQueueReply(
            entries=[
                airscrew_pb2.InspectQueueReply.Entry(
                    entry=entry, execution=encode.execution_id(ids[entry.key.id]) if entry.key.id in ids else None
                )
                for entry in entries
            ]
        )

    async def PauseQueue(self, request: queue_pb2.PauseRequest, context: Any) -> queue_pb2.PauseReply:
        return await self._queue.pause(request)

    async def ResumeQueue(self, request: queue_pb2.ResumeRequest, context: Any) -> queue_pb2.ResumeReply:
        return await self._queue.resume(request)
