"""Array nodes over tasks as Flyte shows them: one task execution, with the items as its external resources.

In truth every item is a node with attempts of its own, which `airscrew.v1` and the list of the nodes below the array
have. flytekit looks here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flyteidl.admin import task_execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2

from libs.store.executions import Executions
from libs.store.trees import Item, Trees
from libs.workflow.errors import NotFound
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, NodeKind, NodePhase
from libs.workflow.state import NodeState
from services.admin import encode

ATTEMPT = 0
"""The number of the one attempt that an array is shown to have: its items are tried again, never the array."""

LOGS = 1_000
"""Arrays of more items are shown without the items' logs: signed addresses are long, and an answer must be taken by
flytekit's client."""

_TASK_TYPE = "container_array"

_PHASES: Mapping[NodePhase, AttemptPhase] = {
    NodePhase.QUEUED: AttemptPhase.QUEUED,
    NodePhase.SUCCEEDED: AttemptPhase.SUCCEEDED,
    NodePhase.RECOVERED: AttemptPhase.SUCCEEDED,
    NodePhase.SKIPPED: AttemptPhase.ABORTED,
    NodePhase.ABORTED: AttemptPhase.ABORTED,
    NodePhase.FAILED: AttemptPhase.FAILED,
    NodePhase.TIMED_OUT: AttemptPhase.FAILED,
}
"""How a task execution stands whose node is in that phase; it runs in all others."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array node over a task."""

    node: NodeState
    task: EntityId
    items: Sequence[Item]


class Arrays:
    """Finds array nodes."""

    def __init__(self, executions: Executions, trees: Trees) -> None:
        self._executions = executions
        self._trees = trees

    async def find(self, execution: ExecutionId, node_id: str) -> Array | None:
        """The array node of that id; None where there is none, or one that runs something else than a task."""
        try:
            node = await self._executions.get_node(execution, node_id)
        except NotFound:
            return None
        if node.kind is not NodeKind.ARRAY:
            return None
        items = await self._trees.items(execution, node_id)
        task = node.task or next((item.task for item in items), None)
        return None if task is None else Array(node, task, items)


def task_execution(owner: ExecutionId, array: Array, address: Callable[[str], str]) -> task_execution_pb2.TaskExecution:
    """The one that Flyte's clients look for. `address` signs a file for reading."""
    node = array.node
    shown = task_execution_pb2.TaskExecution(
        id=identifier_pb2.TaskExecutionIdentifier(
            task_id=encode.entity_id(array.task, identifier_pb2.TASK),
            node_execution_id=encode.node_id(owner, node.id),
            retry_attempt=ATTEMPT,
        ),
        input_uri=(node.inputs.uri or "") if node.inputs else "",
        closure=task_execution_pb2.TaskExecutionClosure(
            phase=int(_PHASES.get(node.phase, AttemptPhase.RUNNING)),
            created_at=encode.timestamp(node.created_at_us),
            started_at=encode.timestamp(node.started_at_us),
            updated_at=encode.timestamp(node.updated_at_us),
            duration=encode.elapsed(node.started_at_us, node.ended_at_us),
            task_type=_TASK_TYPE,
            metadata=event_pb2.TaskExecutionMetadata(
                generated_name=node.id, external_resources=_resources(array, address)
            ),
        ),
    )
    if node.error is not None:
        shown.closure.error.ParseFromString(node.error)
    elif node.outputs is not None and node.outputs.uri is not None:
        shown.closure.output_uri = node.outputs.uri
    return shown


def _resources(array: Array, address: Callable[[str], str]) -> Iterator[event_pb2.ExternalResourceInfo]:
    with_logs = len(array.items) <= LOGS
    for item in array.items:
        resource = event_pb2.ExternalResourceInfo(
            external_id=f"{array.node.id}-{item.spec_id}-{item.attempt}",
            index=int(item.spec_id.removeprefix("n")),
            retry_attempt=item.attempt,
            phase=int(encode.attempt_phase(_phase(item))),
            cache_status=int(item.cache_status),
        )
        if item.log_uri and with_logs:
            resource.logs.append(core_execution_pb2.TaskLog(name="Output of the task", uri=address(item.log_uri)))
        yield resource


def _phase(item: Item) -> AttemptPhase:
    """That of the attempt, unless the item has ended without one or after it."""
    if item.attempt_phase is None or item.phase.terminal:
        return _PHASES.get(item.phase, AttemptPhase.RUNNING)
    return item.attempt_phase
