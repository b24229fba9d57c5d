"""The commands' view of `admin`: asks over gRPC, decodes, knows no printing.

Every unary call has a deadline; streams live until the caller leaves them. What the server refuses arrives as an error
of `libs.workflow.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import grpc
from flyteidl.admin import common_pb2, execution_pb2, node_execution_pb2, version_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from libs.rpc import channel, errors
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.cli import views
from services.cli.endpoint import Endpoint
from services.cli.names import LATEST

DEADLINE_SECONDS = 30.0


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Admin]:
    """A connection to `admin` for the length of the block. Connects with the first call, not before."""
    if endpoint.secure:
        connection = grpc.aio.secure_channel(endpoint.address, grpc.ssl_channel_credentials())
    else:
        connection = channel.connect(endpoint.address)
    try:
        yield Admin(connection)
    finally:
        await connection.close()


class Admin:
    """The calls that the commands need."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._flyte = AdminServiceStub(connection)
        self._airscrew = airscrew_pb2_grpc.AirscrewStub(connection)

    async def version(self) -> str:
        """The server's own."""
        with _errors():
            reply = await self._flyte.GetVersion(version_pb2.GetVersionRequest(), timeout=DEADLINE_SECONDS)
        return str(reply.control_plane_version.Version)

    async def executions(
        self, project: str, domain: str, phases: Sequence[ExecutionPhase] = (), limit: int = 20
    ) -> list[views.Execution]:
        """The newest first; of all phases when `phases` is empty."""
        request = common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project=project, domain=domain),
            limit=limit,
            filters=f"value_in(phase,{';'.join(phase.name for phase in phases)})" if phases else "",
            sort_by=common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING),
        )
        with _errors():
            reply = await self._flyte.ListExecutions(request, timeout=DEADLINE_SECONDS)
        return [_execution(execution) for execution in reply.executions]

    async def resolve(self, id: ExecutionId) -> ExecutionId:
        """The same, with `@latest` replaced by the newest name. Raises NotFound when there is none."""
        if id.name != LATEST:
            return id
        newest = await self.executions(id.project, id.domain, limit=1)
        if not newest:
            raise NotFound(f"there is no execution in {id.project}:{id.domain}")
        return newest[0].id

    async def tree(self, id: ExecutionId) -> views.Tree:
        with _errors():
            reply = await self._airscrew.GetTree(
                airscrew_pb2.GetTreeRequest(id=_identifier(id)), timeout=DEADLINE_SECONDS
            )
        return views.Tree(
            execution=_execution(reply.execution),
            nodes=tuple(
                _node(node.node, node.parent_id, node.kind, node.task, tuple(map(_attempt, node.attempts)))
                for node in reply.nodes
            ),
            trace_id=reply.trace_id,
        )

    async def watch(self, id: ExecutionId) -> AsyncIterator[views.Change]:
        """The state now, then every change; ends when the execution is final."""
        request = airscrew_pb2.WatchExecutionRequest(id=_identifier(id), nodes=True)
        with _errors():
            async for reply in self._airscrew.WatchExecution(request):
                yield views.Change(
                    _execution(reply.execution) if reply.HasField("execution") else None,
                    tuple(_node(node) for node in reply.nodes),
                )

    async def logs(
        self, id: ExecutionId, node: str, attempt: int | None, *, follow: bool, offset: int = 0
    ) -> AsyncIterator[views.LogChunk]:
        """What the attempt wrote, from byte `offset` on; with `follow` until it is final."""
        request = airscrew_pb2.StreamLogsRequest(
            id=_identifier(id), node_id=node, attempt=attempt, follow=follow, offset=offset
        )
        with _errors():
            async for reply in self._airscrew.StreamLogs(request):
                yield views.LogChunk(reply.attempt, reply.content)

    async def abort(self, id: ExecutionId, cause: str) -> None:
        request = execution_pb2.ExecutionTerminateRequest(id=_identifier(id), cause=cause)
        with _errors():
            await self._flyte.TerminateExecution(request, timeout=DEADLINE_SECONDS)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error) from error


def _identifier(id: ExecutionId) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project=id.project, domain=id.domain, name=id.name)


def _execution(message: execution_pb2.Execution) -> views.Execution:
    closure = message.closure
    started = _microseconds(closure, "started_at")
    phase = ExecutionPhase(closure.phase)
    return views.Execution(
        id=ExecutionId(message.id.project, message.id.domain, message.id.name),
        phase=phase,
        entity=message.spec.launch_plan.name,
        version=message.spec.launch_plan.version,
        created_us=_microseconds(closure, "created_at"),
        started_us=started,
        ended_us=_end(closure, started, phase.terminal),
        error=_execution_error(closure),
    )


def _execution_error(closure: execution_pb2.ExecutionClosure) -> str:
    if closure.HasField("error"):
        return _error(closure.error)
    if closure.HasField("abort_metadata"):
        aborted = closure.abort_metadata
        by = f" by {aborted.principal}" if aborted.principal else ""
        return f"aborted{by}: {aborted.cause or 'no reason given'}"
    return ""


def _node(
    message: node_execution_pb2.NodeExecution,
    parent_id: str = "",
    kind: str = "",
    task: str = "",
    attempts: tuple[views.Attempt, ...] = (),
) -> views.Node:
    closure = message.closure
    started = _microseconds(closure, "started_at")
    phase = NodePhase(closure.phase)
    return views.Node(
        id=message.id.node_id,
        parent_id=parent_id,
        kind=kind,
        task=task,
        phase=phase,
        created_us=_microseconds(closure, "created_at"),
        started_us=started,
        ended_us=_end(closure, started, phase.terminal),
        error=_error(closure.error) if closure.HasField("error") else "",
        attempts=attempts,
    )


def _attempt(message: airscrew_pb2.GetTreeReply.Attempt) -> views.Attempt:
    return views.Attempt(
        number=message.attempt,
        phase=AttemptPhase[message.phase],
        executor=message.executor,
        reason=message.reason,
        error=message.error,
        created_us=message.created_us or None,
        started_us=message.started_us or None,
        ended_us=message.ended_us or None,
    )


def _error(error: core_execution_pb2.ExecutionError) -> str:
    return f"{error.code}: {error.message}" if error.code else str(error.message)


def _end(
    closure: execution_pb2.ExecutionClosure | node_execution_pb2.NodeExecutionClosure, started: int | None, final: bool
) -> int | None:
    """Flyte's wire has no end, only a start and a duration."""
    if not final or started is None:
        return None
    return started + int(closure.duration.ToMicroseconds())


def _microseconds(
    closure: execution_pb2.ExecutionClosure | node_execution_pb2.NodeExecutionClosure, field: str
) -> int | None:
    if not closure.HasField(field):
        return None
    moment: Timestamp = getattr(closure, field)
    return int(moment.ToMicroseconds())
