"""Why an execution, or a node of it, stands where it stands.

Rows say most of it and are enough; where the leader answers, its facts are added: the place in the line, limits, which
executors are there. A launched execution is explained in turn, down to a depth, for its node waits for nothing else.
What comes back is bounded, however large the execution is: the causes that matter most, and how many more there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from flyteidl.core import compiler_pb2

from libs.clients.propeller import Propellers, Status
from libs.runtime.clock import Clock
from libs.store.executions import Executions
from libs.store.records import ExecutionRecord, LeaderRow
from libs.store.registry import Registry
from libs.store.stories import Stories
from libs.store.trees import Trees
from libs.workflow.errors import NotFound
from libs.workflow.identity import AttemptId, ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.state import ExecutionState, NodeState
from services.admin.causes import Cause, Code, Known, error_text, of_ended_attempt, of_failed_node, of_open_node, span

LOOKED_AT = 200
"""Open nodes of an execution that are explained; the oldest first."""
TOLD = 10
"""Causes that are told of each execution."""
DEPTH = 8
"""How deep executions that launch others are followed."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The phase of what was asked about, and why."""

    phase: str
    causes: tuple[Cause, ...]
    live: bool
    """Whether the leader's facts are in it."""


class Explainer:
    """Finds causes."""

    def __init__(
        self,
        executions: Executions,
        stories: Stories,
        trees: Trees,
        registry: Registry,
        propellers: Propellers,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._stories = stories
        self._trees = trees
        self._registry = registry
        self._propellers = propellers
        self._clock = clock

    async def explain(self, id: ExecutionId, node_id: str = "") -> Explanation:
        """Raises NotFound for what does not exist."""
        record = await self._executions.get(id)
        if not node_id:
            causes, live = await self._execution(record, DEPTH)
            return Explanation(record.shown_phase.name, causes, live)
        try:
            node = await self._executions.get_node(record.execution.key, node_id)
        except NotFound:
            return await self._not_begun(record.execution, node_id)
        causes, live = await self._node(record.execution, node, DEPTH)
        return Explanation(node.phase.name, causes, live)

    # ------------------------------------------------------------------------------------------------- executions

    async def _execution(self, record: ExecutionRecord, depth: int) -> tuple[tuple[Cause, ...], bool]:
        state = record.execution
        if state.phase is ExecutionPhase.SUCCEEDED:
            return (_of(state, Code.SUCCEEDED, "it has succeeded", state.ended_at_us),), False
        if state.phase is ExecutionPhase.ABORTED:
            return (_aborted(state),), False
        if state.phase.terminal:
            return await self._failed(state, depth), False
        nodes = await self._stories.open_nodes(state.key, LOOKED_AT)
        causes, status = await self._open(state, nodes, depth)
        leader = await self._leadership(state, status)
        if leader is not None:
            causes = [leader, *causes]
        if state.phase is ExecutionPhase.QUEUED:
            causes = [_of(state, Code.NOT_BEGUN, "it has had no turn yet", state.created_at_us), *causes]
        elif not nodes and leader is None:
            causes = [_of(state, Code.STARTING, "its next nodes are about to start", state.updated_at_us)]
        if state.phase is ExecutionPhase.FAILING:
            causes += await self._failed(state, depth)
        return tuple(await self._with_rest(state, causes, len(nodes))), status is not None

    async def _with_rest(self, state: ExecutionState, causes: list[Cause], looked_at: int) -> list[Cause]:
        told = _most_telling(causes)
        left = len(causes) - len(told)
        if looked_at == LOOKED_AT:
            left += max(0, await self._stories.count_open(state.key) - looked_at)
        if left:
            told.append(_of(state, Code.MORE, f"{left} more nodes are open", None, left=str(left)))
        return told

    async def _open(
        self, state: ExecutionState, nodes: Sequence[NodeState], depth: int
    ) -> tuple[list[Cause], Status | None]:
        known = await self._known(state, nodes)
        causes: list[Cause] = []
        followed = 0
        for node in nodes:
            cause = of_open_node(known, node)
            if cause.code is Code.CHILD and depth and followed < TOLD:
                followed += 1
                cause = cause.because(*await self._child(node.child_key or 0, depth - 1))
            causes.append(cause)
        return causes, known.status

    async def _known(self, state: ExecutionState, nodes: Sequence[NodeState]) -> Known:
        ids = [node.id for node in nodes]
        attempts = await self._stories.attempts(state.key, ids)
        known = Known(
            state,
            self._clock.now_us(),
            {node_id: list(group) for node_id, group in groupby(attempts, lambda attempt: attempt.node_id)},
            await self._stories.count_running(state.key),
            {signal.node_id: signal for signal in await self._stories.open_signals(state.key, ids)},
            await self._stories.computing([node.cache_key for node in nodes if node.cache_key is not None]),
            await self._trees.names([node.child_key for node in nodes if node.child_key is not None]),
        )
        leader = await self._stories.leader(state.shard)
        if leader is not None:
            waiting = [
                AttemptId(state.key, attempt.node_id, attempt.attempt)
                for attempt in attempts
                if attempt.phase is AttemptPhase.WAITING_FOR_RESOURCES
            ]
            found = await self._propellers.status(leader.address, state.shard, waiting)
            known.status = found if found is not None and found.leading else None
        return known

    async def _leadership(self, state: ExecutionState, status: Status | None) -> Cause | None:
        """That nobody leads, as far as one can tell."""
        if status is not None:
            return None
        leader = await self._stories.leader(state.shard)
        if leader is None:
            return _of(state, Code.NO_LEADER, f"nobody has ever led shard {state.shard}: no propeller runs", None)
        return _of(state, Code.NO_LEADER, self._silent(leader), None, holder=leader.holder, address=leader.address)

    def _silent(self, leader: LeaderRow) -> str:
        since = span(self._clock.now_us() - leader.claimed_at_us)
        return (
            f"the leader of shard {leader.shard} cannot be reached: {leader.holder} at {leader.address}, which claimed "
            f"it {since} ago, does not answer or leads no longer"
        )

    async def _child(self, key: int, depth: int) -> tuple[Cause, ...]:
        found = await self._executions.get_by_key([key])
        if not found:
            return ()
        causes, _ = await self._execution(found[0], depth)
        return causes

    # ------------------------------------------------------------------------------------------------------ nodes

    async def _node(self, state: ExecutionState, node: NodeState, depth: int) -> tuple[tuple[Cause, ...], bool]:
        if node.phase in (NodePhase.FAILED, NodePhase.TIMED_OUT):
            return (await self._failed_node(state, node, depth),), False
        if node.phase.terminal:
            return (_ended(state, node),), False
        inner = await self._stories.open_nodes(state.key, LOOKED_AT, below=node.id)
        causes, status = await self._open(state, inner or [node], depth)
        leader = await self._leadership(state, status)
        told = await self._with_rest(state, [*([leader] if leader else []), *causes], 0)
        return tuple(told), status is not None

    async def _not_begun(self, state: ExecutionState, node_id: str) -> Explanation:
        """A node without a row: it waits for those before it, if there is such a node."""
        closure = compiler_pb2.CompiledWorkflowClosure.FromString(
            (await self._registry.get_workflow(state.workflow)).closure
        )
        if node_id not in {node.id for node in closure.primary.template.nodes}:
            raise NotFound(f"execution {state.id} has no node {node_id!r}, or has not come to it yet")
        if state.phase.terminal:
            cause = Cause(Code.NOT_BEGUN, "the execution ended before it came to this node", state.id, node_id)
            return Explanation(NodePhase.WAITING.name, (cause,), live=False)
        upstream = closure.primary.connections.upstream
        before = upstream[node_id].ids if node_id in upstream else ()
        found = [await self._upstream(state, each) for each in before]
        causes = [cause for cause in found if cause is not None]
        if not causes:
            causes = [Cause(Code.STARTING, "it is about to start: what it reads is being fetched", state.id, node_id)]
        return Explanation(NodePhase.WAITING.name, tuple(causes), live=False)

    async def _upstream(self, state: ExecutionState, before: str) -> Cause | None:
        """Why a node that another waits for is not done."""
        sentence = f"it waits for node {before}"
        try:
            node = await self._executions.get_node(state.key, before)
        except NotFound:
            return Cause(Code.UPSTREAM, f"{sentence}, which has not begun", state.id, before)
        if node.phase.terminal:
            return None
        causes, _ = await self._node(state, node, 0)
        return Cause(Code.UPSTREAM, sentence, state.id, before).because(*causes)

    # --------------------------------------------------------------------------------------------------- failures

    async def _failed(self, state: ExecutionState, depth: int) -> tuple[Cause, ...]:
        """The first failure, level by level; if no node has failed, the execution's own error."""
        first = await self._stories.first_failed(state.key, "")
        if first is not None:
            return (await self._failed_node(state, first, depth),)
        return (_of(state, Code.FAILED, f"it failed: {error_text(state.error)}", state.ended_at_us),)

    async def _failed_node(self, state: ExecutionState, node: NodeState, depth: int) -> Cause:
        cause = of_failed_node(state.id, node)
        for attempt in await self._stories.attempts(state.key, [node.id]):
            if attempt.phase is not AttemptPhase.SUCCEEDED:
                cause = cause.because(of_ended_attempt(state.id, attempt))
        if node.child_key is not None and depth:
            cause = cause.because(*await self._child(node.child_key, depth - 1))
        inner = await self._stories.first_failed(state.key, node.id)
        return cause if inner is None else cause.because(await self._failed_node(state, inner, depth))


def _most_telling(causes: list[Cause]) -> list[Cause]:
    """A few of each kind, those first that keep it most; in a kind the oldest first."""
    return sorted(causes, key=lambda cause: cause.code.rank)[:TOLD]


def _of(state: ExecutionState, code: Code, sentence: str, since_us: int | None, **facts: str) -> Cause:
    return Cause(code, sentence, state.id, since_us=since_us or 0, facts=facts)


def _aborted(state: ExecutionState) -> Cause:
    by = f" by {state.intent.abort_principal}" if state.intent.abort_principal else ""
    why = f": {state.intent.abort_cause}" if state.intent.abort_cause else ""
    return _of(state, Code.ABORTED, f"it was aborted{by}{why}", state.ended_at_us)


def _ended(state: ExecutionState, node: NodeState) -> Cause:
    code = {NodePhase.SKIPPED: Code.SKIPPED, NodePhase.ABORTED: Code.ABORTED}.get(node.phase, Code.SUCCEEDED)
    sentences = {
        NodePhase.SKIPPED: "it was skipped: a node before it failed or was skipped, or a branch chose another way",
        NodePhase.ABORTED: "it was stopped, because something around it ended",
        NodePhase.RECOVERED: "it has succeeded: its outputs are those of the execution that is recovered",
    }
    sentence = sentences.get(node.phase, "it has succeeded")
    return Cause(code, sentence, state.id, node.id, since_us=node.ended_at_us or 0)
