"""Where the time of an execution went, as `pyflyte metrics` reads it.

A tree of spans: executions consist of nodes, nodes of attempts, of other nodes or of an execution that they launched;
what lies between these is an operation with a name of Flyte's (`TASK_SETUP` is the wait for a slot, `TASK_RUNTIME` the
run). A node exists as soon as it can start, so there is no transition between one node's end and the next one's
beginning. The items of an array node are not listed: they would be a hundred thousand. What has not ended lasts until
now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flyteidl.core import metrics_pb2

from libs.runtime.clock import Clock
from libs.store.executions import Executions
from libs.store.records import ExecutionRecord
from libs.store.trees import Trees
from libs.workflow.errors import ResourceExhausted
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import NodeKind
from libs.workflow.state import AttemptState, NodeState
from services.admin import encode, tree

NODES = 10_000
"""Most nodes of one answer, so that clients can take it. Whoever wants to look deeper asks for less at a time."""

_ENDS = (NodeKind.START, NodeKind.END)


class Metrics:
    """Breaks executions down. One for each request: it counts what it has answered."""

    def __init__(self, executions: Executions, trees: Trees, clock: Clock) -> None:
        self._executions = executions
        self._trees = trees
        self._now_us = clock.now_us()
        self._nodes = 0

    async def of(self, id: ExecutionId, depth: int) -> metrics_pb2.Span:
        """An execution, down to `depth` levels below it; all for a negative number.

        Raises `NotFound`, and `ResourceExhausted` when that is too much for one answer.
        """
        return await self._execution(await self._executions.get(id), depth)

    async def _execution(self, record: ExecutionRecord, depth: int) -> metrics_pb2.Span:
        state = record.execution
        ended_us = state.ended_at_us or self._now_us
        span = _span(state.created_at_us, ended_us, workflow_id=encode.execution_id(state.id))
        if depth != 0:
            found = await self._trees.tree(state.key)
            story = _Story(state.id, found.nodes, tree.by_node(found.attempts))
            nodes = [node for node in story.below("") if node.kind not in _ENDS]
            first_us = min((node.created_at_us or ended_us for node in nodes), default=ended_us)
            span.spans.append(_operation("WORKFLOW_SETUP", state.created_at_us, first_us))
            for node in nodes:
                span.spans.append(await self._node(story, node, depth - 1))
            last_us = max((node.ended_at_us or ended_us for node in nodes), default=ended_us)
            span.spans.append(_operation("WORKFLOW_TEARDOWN", last_us, ended_us))
        return span

    async def _node(self, story: _Story, node: NodeState, depth: int) -> metrics_pb2.Span:
        self._nodes += 1
        if self._nodes > NODES:
            raise ResourceExhausted(f"depth: there are more than {NODES} nodes down to it, ask for fewer levels")
        created_us, ended_us = node.created_at_us or self._now_us, node.ended_at_us or self._now_us
        span = _span(created_us, ended_us, node_id=encode.node_id(story.execution, node.id))
        if depth == 0:
            return span
        if node.kind is NodeKind.GATE:
            started_us = node.started_at_us or ended_us
            span.spans.append(_operation("NODE_SETUP", created_us, started_us))
            span.spans.append(_operation("NODE_IDLE", started_us, ended_us))
            return span
        at_us, operation = created_us, "NODE_SETUP"
        async for part in self._inside(story, node, depth - 1):
            if part.begun_us > at_us or operation == "NODE_SETUP":
                span.spans.append(_operation(operation, at_us, part.begun_us))
            span.spans.append(part.span)
            at_us, operation = max(at_us, part.over_us), "NODE_RESET"
        span.spans.append(_operation("NODE_TEARDOWN" if operation == "NODE_RESET" else operation, at_us, ended_us))
        return span

    async def _inside(self, story: _Story, node: NodeState, depth: int) -> AsyncIterator[_Part]:
        """What a node consists of, in order of time."""
        for attempt in story.attempts.get(node.id, ()):
            created_us, ended_us = attempt.created_at_us or self._now_us, attempt.ended_at_us or self._now_us
            yield _Part(self._attempt(story.execution, node, attempt, depth), created_us, ended_us)
        for child in () if node.kind is NodeKind.ARRAY else story.below(node.id):
            created_us, ended_us = child.created_at_us or self._now_us, child.ended_at_us or self._now_us
            if child.kind not in _ENDS:
                yield _Part(await self._node(story, child, depth), created_us, ended_us)
        if node.child_key is not None:
            for record in await self._executions.get_by_key([node.child_key]):
                state = record.execution
                yield _Part(
                    await self._execution(record, depth), state.created_at_us, state.ended_at_us or self._now_us
                )

    def _attempt(self, owner: ExecutionId, node: NodeState, attempt: AttemptState, depth: int) -> metrics_pb2.Span:
        created_us, ended_us = attempt.created_at_us or self._now_us, attempt.ended_at_us or self._now_us
        span = _span(created_us, ended_us, task_id=encode.attempt_id(owner, node, attempt.attempt))
        if depth != 0:
            started_us = attempt.started_at_us or ended_us
            span.spans.append(_operation("TASK_SETUP", created_us, started_us))
            if attempt.started_at_us is not None:
                span.spans.append(_operation("TASK_RUNTIME", started_us, ended_us))
        return span


class _Part(NamedTuple):
    """A part of a node, and from when to when it lasted."""

    span: metrics_pb2.Span
    begun_us: int
    over_us: int


class _Story:
    """An execution's rows, by what they are part of."""

    def __init__(
        self, execution: ExecutionId, nodes: Iterable[NodeState], attempts: Mapping[str, Sequence[AttemptState]]
    ) -> None:
        self.execution = execution
        self.attempts = attempts
        self._below: defaultdict[str, list[NodeState]] = defaultdict(list)
        for node in tree.in_order(nodes):
            self._below[node.parent_id].append(node)

    def below(self, parent_id: str) -> Sequence[NodeState]:
        """The nodes of a node, older ones first; those at the top level for ""."""
        return self._below.get(parent_id, ())


def _operation(name: str, started_at_us: int, ended_at_us: int) -> metrics_pb2.Span:
    return _span(started_at_us, max(started_at_us, ended_at_us), operation_id=name)


def _span(started_at_us: int, ended_at_us: int, **id: Any) -> metrics_pb2.Span:
    return metrics_pb2.Span(start_time=encode.timestamp(started_at_us), end_time=encode.timestamp(ended_at_us), **id)
