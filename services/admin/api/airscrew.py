"""`airscrew.v1.Airscrew`: our own API, for clients that want to be told rather than to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from flyteidl.core import execution_pb2 as core_execution_pb2

from libs.rpc import server
from libs.store.executions import Executions
from libs.store.query import Query
from libs.store.records import ExecutionRecord
from libs.telemetry.traces import TraceContext
from libs.workflow.errors import InvalidArgument
from libs.workflow.phases import NodeKind
from libs.workflow.state import AttemptState, NodeState
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.admin import encode, identifiers, paging, tree
from services.admin.logtail import LogTail
from services.admin.watch import Watch

_WHOLE = Query(limit=1_000, sort_key="created_at", descending=False)
"""Pages in which whole executions are read."""


@server.unimplemented
class AirscrewApi(airscrew_pb2_grpc.AirscrewServicer):
    """Streams and whole trees."""

    def __init__(self, executions: Executions, watch: Watch, logs: LogTail) -> None:
        self._executions = executions
        self._watch = watch
        self._logs = logs

    async def WatchExecution(
        self, request: airscrew_pb2.WatchExecutionRequest, context: Any
    ) -> AsyncIterator[airscrew_pb2.WatchExecutionReply]:
        async for change in self._watch.execution(identifiers.execution(request.id), nodes=request.nodes):
            yield airscrew_pb2.WatchExecutionReply(
                execution=encode.execution(change.execution) if change.execution else None,
                nodes=[encode.node(change.id, node) for node in change.nodes],
            )

    async def WatchExecutions(
        self, request: airscrew_pb2.WatchExecutionsRequest, context: Any
    ) -> AsyncIterator[airscrew_pb2.WatchExecutionsReply]:
        query = Query(
            project=identifiers.required(request.project, "project"),
            domain=identifiers.required(request.domain, "domain"),
            filters=request.filters,
        )
        async for changed in self._watch.executions(query):
            yield airscrew_pb2.WatchExecutionsReply(executions=map(encode.execution, changed))

    async def StreamLogs(
        self, request: airscrew_pb2.StreamLogsRequest, context: Any
    ) -> AsyncIterator[airscrew_pb2.StreamLogsReply]:
        id = identifiers.execution(request.id)
        node_id = identifiers.required(request.node_id, "node_id")
        if request.offset < 0:
            raise InvalidArgument(f"offset: {request.offset} is negative")
        asked = request.attempt if request.HasField("attempt") else None
        attempt = await self._logs.find(id, node_id, asked, follow=request.follow)
        async for piece in self._logs.read(id, node_id, attempt, request.offset, follow=request.follow):
            yield airscrew_pb2.StreamLogsReply(content=piece, attempt=attempt)

    async def GetTree(self, request: airscrew_pb2.GetTreeRequest, context: Any) -> airscrew_pb2.GetTreeReply:
        record = await self._executions.get(identifiers.execution(request.id))
        key = record.execution.key
        nodes = [node async for node in paging.every(lambda query: self._executions.list_nodes(query, key), _WHOLE)]
        attempts = tree.by_node(
            [
                found.attempt
                async for found in paging.every(lambda query: self._executions.list_attempts(query, key), _WHOLE)
            ]
        )
        return airscrew_pb2.GetTreeReply(
            execution=encode.execution(record),
            nodes=[_node(record, node, attempts.get(node.id, ())) for node in tree.in_order(nodes)],
            trace_id=_trace_id(record.execution.traceparent),
        )


def _node(record: ExecutionRecord, node: NodeState, attempts: Sequence[AttemptState]) -> airscrew_pb2.GetTreeReply.Node:
    return airscrew_pb2.GetTreeReply.Node(
        node=encode.node(record.execution.id, node),
        parent_id=node.parent_id,
        kind=node.kind.name.lower(),
        task=node.task.name if node.task and node.kind is NodeKind.TASK else "",
        attempts=map(_attempt, attempts),
    )


def _attempt(attempt: AttemptState) -> airscrew_pb2.GetTreeReply.Attempt:
    error = core_execution_pb2.ExecutionError.FromString(attempt.error) if attempt.error else None
    return airscrew_pb2.GetTreeReply.Attempt(
        attempt=attempt.attempt,
        phase=attempt.phase.name,
        executor=attempt.executor or "",
        reason=attempt.reason,
        error=error.message if error else "",
        created_us=attempt.created_at_us,
        started_us=attempt.started_at_us or 0,
        ended_us=attempt.ended_at_us or 0,
    )


def _trace_id(traceparent: str) -> str:
    context = TraceContext.parse(traceparent)
    return f"{context.trace_id:032x}" if context else ""
