"""`airscrew.v1.Airscrew`: our own API, for clients that want to be told rather than to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from flyteidl.core import execution_pb2 as core_execution_pb2

from libs.clients.propeller import Propellers
from libs.clients.queue import Operator
from libs.rpc import server
from libs.store.cache import Cache
from libs.store.executions import Executions
from libs.store.query import Query
from libs.store.records import ExecutionRecord, SignalRecord
from libs.store.stories import Stories
from libs.store.trees import Trees
from libs.telemetry.traces import TraceContext
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import CacheStatus
from libs.workflow.state import AttemptState, ExecutionState, NodeState
from protos import airscrew_pb2
from services.admin import encode, identifiers, paging, tree
from services.admin.api import causes
from services.admin.api.bulk import BulkCalls
from services.admin.api.chaos import ChaosCalls
from services.admin.api.executors import ExecutorCalls
from services.admin.api.garbage import GarbageCalls
from services.admin.api.intakes import IntakeCalls
from services.admin.api.queue import QueueCalls
from services.admin.api.shards import ShardCalls
from services.admin.explain import Explainer
from services.admin.gates import Gates
from services.admin.intakes import Intakes
from services.admin.launch import PARENT_LABEL, Launcher
from services.admin.logtail import LogTail
from services.admin.related import Related, related
from services.admin.takeover import TakeOvers
from services.admin.watch import Watch

_WHOLE = Query(limit=1_000, sort_key="created_at", descending=False)
"""Pages in which lists are read to their end."""

_LAUNCHED = 100
"""Executions that a tree lists besides its own nodes."""


@server.unimplemented
class AirscrewApi(BulkCalls, IntakeCalls, QueueCalls, ShardCalls, ExecutorCalls, GarbageCalls, ChaosCalls):
    """Streams and whole trees; bulk; intakes; queue, shards, executors, garbage; breaking things on purpose."""

    def __init__(
        self,
        executions: Executions,
        trees: Trees,
        gates: Gates,
        cache: Cache,
        watch: Watch,
        logs: LogTail,
        intakes: Intakes,
        queue: Operator,
        explainer: Explainer,
        stories: Stories,
        propellers: Propellers,
        launcher: Launcher,
        shards: int,
        take_overs: TakeOvers,
    ) -> None:
        self._executions = executions
        self._trees = trees
        self._gates = gates
        self._cache = cache
        self._watch = watch
        self._logs = logs
        self._intakes = intakes
        self._queue = queue
        self._explainer = explainer
        self._stories = stories
        self._propellers = propellers
        self._launcher = launcher
        self._shards = shards
        self._take_overs = take_overs

    async def WatchExecution(
        self, request: airscrew_pb2.WatchExecutionRequest, context: Any
    ) -> AsyncIterator[airscrew_pb2.WatchExecutionReply]:
        async for change in self._watch.execution(identifiers.execution(request.id), nodes=request.nodes):
            about = await related(self._trees, change.nodes)
            yield airscrew_pb2.WatchExecutionReply(
                execution=encode.execution_with_outputs(change.execution) if change.execution else None,
                nodes=[encode.node(change.id, node, about) for node in change.nodes],
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
            if changed:
                reply = airscrew_pb2.WatchExecutionsReply()
                for record in changed:
                    encode.fill_with_outputs(reply.executions.add(), record)
                yield reply
            else:
                await context.send_initial_metadata(())  # whoever waits for them knows that it is listened

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
        state = record.execution
        found = await self._trees.tree(state.key)
        about = await related(self._trees, found.nodes)
        attempts = tree.by_node(found.attempts)
        nodes = []
        for node in tree.in_order(found.nodes):
            shown = _node(state.id, node, about, attempts.get(node.id, ()))
            shown.items.update({phase.name: count for phase, count in found.items.get(node.id, {}).items()})
            nodes.append(shown)
        return airscrew_pb2.GetTreeReply(
            execution=encode.execution(record),
            nodes=nodes,
            trace_id=_trace_id(state.traceparent),
            signals=[_signal(signal) for signal in await self._waiting(state)],
            launched=map(encode.execution, await self._launched(state)),
        )

    async def Explain(self, request: airscrew_pb2.ExplainRequest, context: Any) -> airscrew_pb2.ExplainReply:
        found = await self._explainer.explain(identifiers.execution(request.id), request.node_id)
        return airscrew_pb2.ExplainReply(phase=found.phase, causes=map(causes.cause, found.causes), live=found.live)

    async def ListEvents(self, request: airscrew_pb2.ListEventsRequest, context: Any) -> airscrew_pb2.ListEventsReply:
        state = (await self._executions.get(identifiers.execution(request.id))).execution
        query = Query(limit=request.limit, token=request.token)
        page = await self._stories.events(state.key, query, request.node_id)
        return airscrew_pb2.ListEventsReply(events=map(causes.event, page.items), token=page.token)

    async def EvictCache(self, request: airscrew_pb2.EvictCacheRequest, context: Any) -> airscrew_pb2.EvictCacheReply:
        return airscrew_pb2.EvictCacheReply(evicted=await self._evict(request))

    async def _evict(self, request: airscrew_pb2.EvictCacheRequest) -> int:
        match request.WhichOneof("of"):
            case "task":
                task = request.task
                return await self._cache.evict_task(
                    identifiers.required(task.project, "task.project"),
                    identifiers.required(task.domain, "task.domain"),
                    identifiers.required(task.name, "task.name"),
                    task.version or None,
                )
            case "made":
                # Of an execution that does not exist nothing would be evicted, and whoever asks be content.
                owner = identifiers.execution(request.made.execution_id, "made.execution_id")
                key = (await self._executions.get(owner)).execution.key
                if not request.made.node_id:
                    return await self._cache.evict_execution(key)
                await self._executions.get_node(key, request.made.node_id)
                return await self._cache.evict_node(key, request.made.node_id)
            case _:
                raise InvalidArgument("of: say task or made")

    async def _waiting(self, state: ExecutionState) -> list[SignalRecord]:
        """The signals that its gates wait for now."""
        if state.phase.terminal:
            return []
        signals = paging.every(lambda query: self._gates.list(state.id, query), _WHOLE)
        return [signal async for signal in signals if signal.value is None]

    async def _launched(self, state: ExecutionState) -> Sequence[ExecutionRecord]:
        """What its tasks have launched, by the label that they give to it."""
        asked = Query(
            project=state.id.project,
            domain=state.id.domain,
            filters=f"eq(execution_tag.key,{PARENT_LABEL})+eq(execution_tag.value,{state.id.name})",
            limit=_LAUNCHED,
        )
        found = (await self._executions.list(asked)).items
        return [record for record in found if record.execution.parent_key == state.key]


def _node(
    owner: ExecutionId, node: NodeState, about: Related, attempts: Sequence[AttemptState]
) -> airscrew_pb2.GetTreeReply.Node:
    child = about.children.get(node.child_key) if node.child_key is not None else None
    return airscrew_pb2.GetTreeReply.Node(
        node=encode.node(owner, node, about),
        parent_id=node.parent_id,
        kind=node.kind.name.lower(),
        task=node.task.name if node.task else "",
        attempts=map(_attempt, attempts),
        phase=node.phase.name,
        cache="" if node.cache_status is CacheStatus.DISABLED else node.cache_status.name,
        child=encode.execution_id(child) if child else None,
        size=node.items or 0,
    )


def _signal(record: SignalRecord) -> airscrew_pb2.GetTreeReply.Signal:
    return airscrew_pb2.GetTreeReply.Signal(
        signal=encode.signal(record), node_id=record.node_id, created_us=record.created_at_us
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
