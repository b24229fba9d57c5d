"""The commands' view of `admin`: asks over gRPC, decodes, knows no printing.

Every unary call has a deadline; streams live until the caller leaves them. What the server refuses arrives as an error
of `libs.workflow.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2, signal_pb2, version_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from flyteidl.service.signal_pb2_grpc import SignalServiceStub

from libs.clients.bulk import Bulk
from libs.rpc import channel, errors
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import ExecutionPhase
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.cli import views
from services.cli.api import decode
from services.cli.api.chaos import Chaos
from services.cli.api.executors import Executors
from services.cli.api.garbage import Garbage
from services.cli.api.intakes import Intakes
from services.cli.api.queue import Queue
from services.cli.api.shards import Shards
from services.cli.endpoint import Endpoint
from services.cli.names import LATEST

DEADLINE_SECONDS = 30.0
_SIGNALS = 1000
"""More gates than anybody waits at."""
_EVENTS = 1000
"""A page of events."""


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Admin]:
    """A connection to `admin` for the length of the block. Connects with the first call, not before."""
    connection = channel.connect(endpoint.address, secure=endpoint.secure)
    try:
        yield Admin(connection)
    finally:
        await connection.close()


class Admin:
    """The calls that the commands need."""

    def __init__(self, connection: grpc.aio.Channel) -> None:
        self._connection = connection
        self._flyte = AdminServiceStub(connection)
        self._signals = SignalServiceStub(connection)
        self._airscrew = airscrew_pb2_grpc.AirscrewStub(connection)
        self.intakes = Intakes(connection)
        self.queue = Queue(connection)
        self.executors = Executors(connection)
        self.shards = Shards(connection)
        self.chaos = Chaos(connection)
        self.garbage = Garbage(connection)

    async def version(self) -> str:
        """The server's own."""
        with errors.of_rpc():
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
        with errors.of_rpc():
            reply = await self._flyte.ListExecutions(request, timeout=DEADLINE_SECONDS)
        return [decode.execution(execution) for execution in reply.executions]

    async def resolve(self, id: ExecutionId) -> ExecutionId:
        """The same, with `@latest` replaced by the newest name. Raises NotFound when there is none."""
        if id.name != LATEST:
            return id
        newest = await self.executions(id.project, id.domain, limit=1)
        if not newest:
            raise NotFound(f"there is no execution in {id.project}:{id.domain}")
        return newest[0].id

    async def tree(self, id: ExecutionId) -> views.Tree:
        with errors.of_rpc():
            reply = await self._airscrew.GetTree(
                airscrew_pb2.GetTreeRequest(id=_identifier(id)), timeout=DEADLINE_SECONDS
            )
        return views.Tree(
            execution=decode.execution(reply.execution),
            nodes=tuple(decode.node(node.node, node) for node in reply.nodes),
            trace_id=reply.trace_id,
            signals=tuple(decode.signal(signal.signal, signal.node_id) for signal in reply.signals),
            launched=tuple(map(decode.execution, reply.launched)),
        )

    async def watch(self, id: ExecutionId) -> AsyncIterator[views.Change]:
        """The state now, then every change; ends when the execution is final."""
        request = airscrew_pb2.WatchExecutionRequest(id=_identifier(id), nodes=True)
        with errors.of_rpc():
            async for reply in self._airscrew.WatchExecution(request):
                yield views.Change(
                    decode.execution(reply.execution) if reply.HasField("execution") else None,
                    tuple(decode.node(node) for node in reply.nodes),
                )

    async def logs(
        self, id: ExecutionId, node: str, attempt: int | None, *, follow: bool, offset: int = 0
    ) -> AsyncIterator[views.LogChunk]:
        """What the attempt wrote, from byte `offset` on; with `follow` until it is final."""
        request = airscrew_pb2.StreamLogsRequest(
            id=_identifier(id), node_id=node, attempt=attempt, follow=follow, offset=offset
        )
        with errors.of_rpc():
            async for reply in self._airscrew.StreamLogs(request):
                yield views.LogChunk(reply.attempt, reply.content)

    async def abort(self, id: ExecutionId, cause: str) -> None:
        request = execution_pb2.ExecutionTerminateRequest(id=_identifier(id), cause=cause)
        with errors.of_rpc():
            await self._flyte.TerminateExecution(request, timeout=DEADLINE_SECONDS)

    async def relaunch(self, id: ExecutionId, name: str, overwrite_cache: bool) -> ExecutionId:
        """Runs it once more; the new one's id."""
        request = execution_pb2.ExecutionRelaunchRequest(id=_identifier(id), name=name, overwrite_cache=overwrite_cache)
        with errors.of_rpc():
            reply = await self._flyte.RelaunchExecution(request, timeout=DEADLINE_SECONDS)
        return decode.execution_id(reply.id)

    async def recover(self, id: ExecutionId, name: str) -> ExecutionId:
        """Runs it once more from where it failed; the new one's id."""
        request = execution_pb2.ExecutionRecoverRequest(id=_identifier(id), name=name)
        with errors.of_rpc():
            reply = await self._flyte.RecoverExecution(request, timeout=DEADLINE_SECONDS)
        return decode.execution_id(reply.id)

    async def launch_plan(self, project: str, domain: str, name: str, version: str) -> views.LaunchPlan:
        """Without a version the active one, or else the newest. Raises NotFound."""
        named = common_pb2.NamedEntityIdentifier(project=project, domain=domain, name=name)
        with errors.of_rpc():
            if version:
                id = identifier_pb2.Identifier(
                    resource_type=identifier_pb2.LAUNCH_PLAN, project=project, domain=domain, name=name, version=version
                )
                asked = common_pb2.ObjectGetRequest(id=id)
                return decode.launch_plan(await self._flyte.GetLaunchPlan(asked, timeout=DEADLINE_SECONDS))
            try:
                active = launch_plan_pb2.ActiveLaunchPlanRequest(id=named)
                return decode.launch_plan(await self._flyte.GetActiveLaunchPlan(active, timeout=DEADLINE_SECONDS))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            newest = common_pb2.ResourceListRequest(
                id=named, limit=1, sort_by=common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)
            )
            listed = (await self._flyte.ListLaunchPlans(newest, timeout=DEADLINE_SECONDS)).launch_plans
        if not listed:
            raise NotFound(f"there is no launch plan {name} in {project}:{domain}")
        return decode.launch_plan(listed[0])

    def bulk(self, plan: views.LaunchPlan, project: str, domain: str, batch: str, tags: Sequence[str]) -> Bulk:
        """A stream of executions of the plan."""
        common = execution_pb2.ExecutionCreateRequest(project=project, domain=domain)
        common.spec.launch_plan.CopyFrom(
            identifier_pb2.Identifier(
                resource_type=identifier_pb2.LAUNCH_PLAN,
                project=plan.id.project,
                domain=plan.id.domain,
                name=plan.id.name,
                version=plan.id.version,
            )
        )
        common.spec.tags.extend(tags)
        return Bulk(self._connection, common, batch)

    async def explain(self, id: ExecutionId, node: str) -> views.Explanation:
        """Why an execution, or (not empty) a node of it, stands where it stands."""
        request = airscrew_pb2.ExplainRequest(id=_identifier(id), node_id=node)
        with errors.of_rpc():
            reply = await self._airscrew.Explain(request, timeout=DEADLINE_SECONDS)
        return views.Explanation(reply.phase, tuple(map(decode.cause, reply.causes)), reply.live)

    async def events(self, id: ExecutionId, node: str) -> AsyncIterator[views.Event]:
        """What has happened, in order of time."""
        token, begun = "", False
        while token or not begun:
            begun = True
            request = airscrew_pb2.ListEventsRequest(id=_identifier(id), node_id=node, limit=_EVENTS, token=token)
            with errors.of_rpc():
                reply = await self._airscrew.ListEvents(request, timeout=DEADLINE_SECONDS)
            for event in reply.events:
                yield decode.event(event)
            token = reply.token

    async def signals(self, id: ExecutionId) -> list[views.Signal]:
        """Those that its gates have asked for, the oldest first."""
        request = signal_pb2.SignalListRequest(workflow_execution_id=_identifier(id), limit=_SIGNALS)
        with errors.of_rpc():
            reply = await self._signals.ListSignals(request, timeout=DEADLINE_SECONDS)
        return [decode.signal(signal) for signal in reply.signals]

    async def set_signal(self, id: ExecutionId, signal: str, value: literals_pb2.Literal) -> None:
        request = signal_pb2.SignalSetRequest(
            id=identifier_pb2.SignalIdentifier(signal_id=signal, execution_id=_identifier(id)), value=value
        )
        with errors.of_rpc():
            await self._signals.SetSignal(request, timeout=DEADLINE_SECONDS)

    async def evict_task(self, project: str, domain: str, name: str, version: str) -> int:
        """Forgets what a task has computed, in one version or (empty) in all; how many results that were."""
        task = airscrew_pb2.EvictCacheRequest.Task(project=project, domain=domain, name=name, version=version)
        return await self._evict(airscrew_pb2.EvictCacheRequest(task=task))

    async def evict_made(self, id: ExecutionId, node: str) -> int:
        """Forgets what a node of an execution, or (empty) any of them, has computed or taken over."""
        made = airscrew_pb2.EvictCacheRequest.Made(execution_id=_identifier(id), node_id=node)
        return await self._evict(airscrew_pb2.EvictCacheRequest(made=made))

    async def _evict(self, request: airscrew_pb2.EvictCacheRequest) -> int:
        with errors.of_rpc():
            reply = await self._airscrew.EvictCache(request, timeout=DEADLINE_SECONDS)
        return int(reply.evicted)


def _identifier(id: ExecutionId) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project=id.project, domain=id.domain, name=id.name)
