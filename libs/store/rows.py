"""State objects to rows and back: the only place that knows how the one becomes the other.

A row is a tuple in the order of the column names beside it, so that a thousand of them cost no dictionaries. The
column lists are checked against `schema` by a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, Desired, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import AttemptState, Data, ExecutionState, Intent, NodeState, RecordedEvent

Row = tuple[Any, ...]

EXECUTION_OBSERVED = (
    "phase",
    "observed_generation",
    "next_wake_at_us",
    "started_at_us",
    "ended_at_us",
    "updated_at_us",
    "outputs_inline",
    "outputs_uri",
    "outputs_size",
    "error",
)
"""What the leader of a shard writes of an execution, and nobody else."""

EXECUTION_COLUMNS = (
    "key",
    *EXECUTION_OBSERVED,
    "project",
    "domain",
    "name",
    "shard",
    "root_key",
    "workflow_project",
    "workflow_domain",
    "workflow_name",
    "workflow_version",
    "launch_plan_project",
    "launch_plan_domain",
    "launch_plan_name",
    "launch_plan_version",
    "spec",
    "inputs_inline",
    "inputs_uri",
    "inputs_size",
    "created_at_us",
    "traceparent",
    "generation",
    "desired",
    "abort_cause",
    "abort_principal",
)
"""An `ExecutionState`, whole."""

INTENT_COLUMNS = ("generation", "desired", "abort_cause", "abort_principal")

NODE_COLUMNS = (
    "execution_key",
    "node_id",
    "spec_id",
    "parent_id",
    "kind",
    "phase",
    "attempt",
    "user_failures",
    "system_failures",
    "wake_at_us",
    "created_at_us",
    "queued_at_us",
    "started_at_us",
    "ended_at_us",
    "updated_at_us",
    "task_project",
    "task_domain",
    "task_name",
    "task_version",
    "inputs_inline",
    "inputs_uri",
    "inputs_size",
    "outputs_inline",
    "outputs_uri",
    "outputs_size",
    "error",
    "deck_uri",
)

ATTEMPT_COLUMNS = (
    "execution_key",
    "node_id",
    "attempt",
    "phase",
    "created_at_us",
    "executor",
    "incarnation",
    "placed_at_us",
    "started_at_us",
    "ended_at_us",
    "updated_at_us",
    "seq",
    "error",
    "reason",
    "log_uri",
    "checkpoint_uri",
)

EVENT_COLUMNS = ("execution_key", "at_us", "kind", "node_id", "attempt", "message")

_NO_ENTITY: Row = (None, None, None, None)
_NO_DATA: Row = (None, None, None)


def observed_row(execution: ExecutionState) -> Row:
    """The columns `key` and EXECUTION_OBSERVED."""
    return (
        execution.key,
        int(execution.phase),
        execution.observed_generation,
        execution.next_wake_at_us,
        execution.started_at_us,
        execution.ended_at_us,
        execution.updated_at_us,
        *_data_row(execution.outputs),
        execution.error,
    )


def execution_row(execution: ExecutionState) -> Row:
    """The columns EXECUTION_COLUMNS."""
    return (
        *observed_row(execution),
        *execution.id,
        execution.shard,
        execution.root_key,
        *execution.workflow,
        *execution.launch_plan,
        execution.spec,
        *_data_row(execution.inputs),
        execution.created_at_us,
        execution.traceparent,
        *intent_row(execution.intent),
    )


def intent_row(intent: Intent) -> Row:
    """The columns INTENT_COLUMNS."""
    return intent.generation, int(intent.desired), intent.abort_cause, intent.abort_principal


def node_row(key: int, node: NodeState) -> Row:
    """The columns NODE_COLUMNS."""
    return (
        key,
        node.id,
        node.spec_id,
        node.parent_id,
        int(node.kind),
        int(node.phase),
        node.attempt,
        node.user_failures,
        node.system_failures,
        node.wake_at_us,
        node.created_at_us,
        node.queued_at_us,
        node.started_at_us,
        node.ended_at_us,
        node.updated_at_us,
        *(node.task or _NO_ENTITY),
        *_data_row(node.inputs),
        *_data_row(node.outputs),
        node.error,
        node.deck_uri,
    )


def attempt_row(key: int, attempt: AttemptState) -> Row:
    """The columns ATTEMPT_COLUMNS."""
    return (
        key,
        attempt.node_id,
        attempt.attempt,
        int(attempt.phase),
        attempt.created_at_us,
        attempt.executor,
        attempt.incarnation,
        attempt.placed_at_us,
        attempt.started_at_us,
        attempt.ended_at_us,
        attempt.updated_at_us,
        attempt.seq,
        attempt.error,
        attempt.reason,
        attempt.log_uri,
        attempt.checkpoint_uri,
    )


def event_row(key: int, event: RecordedEvent) -> Row:
    """The columns EVENT_COLUMNS."""
    return key, event.at_us, event.kind, event.node_id, event.attempt, event.message


def execution_from(row: Sequence[Any]) -> ExecutionState:
    """Of a row of EXECUTION_COLUMNS."""
    return ExecutionState(
        key=row[0],
        phase=ExecutionPhase(row[1]),
        observed_generation=row[2],
        next_wake_at_us=row[3],
        started_at_us=row[4],
        ended_at_us=row[5],
        updated_at_us=row[6],
        outputs=_data_from(row[7:10]),
        error=row[10],
        id=ExecutionId(*row[11:14]),
        shard=row[14],
        root_key=row[15],
        workflow=EntityId(*row[16:20]),
        launch_plan=EntityId(*row[20:24]),
        spec=row[24],
        inputs=_data_from(row[25:28]) or Data.of(b""),
        created_at_us=row[28],
        traceparent=row[29],
        intent=intent_from(row[30:34]),
    )


def intent_from(row: Sequence[Any]) -> Intent:
    """Of a row of INTENT_COLUMNS."""
    return Intent(row[0], Desired(row[1]), row[2], row[3])


def node_from(row: Sequence[Any]) -> NodeState:
    """Of a row of NODE_COLUMNS."""
    return NodeState(
        id=row[1],
        spec_id=row[2],
        parent_id=row[3],
        kind=NodeKind(row[4]),
        phase=NodePhase(row[5]),
        attempt=row[6],
        user_failures=row[7],
        system_failures=row[8],
        wake_at_us=row[9],
        created_at_us=row[10],
        queued_at_us=row[11],
        started_at_us=row[12],
        ended_at_us=row[13],
        updated_at_us=row[14],
        task=None if row[15] is None else EntityId(*row[15:19]),
        inputs=_data_from(row[19:22]),
        outputs=_data_from(row[22:25]),
        error=row[25],
        deck_uri=row[26],
    )


def attempt_from(row: Sequence[Any]) -> AttemptState:
    """Of a row of ATTEMPT_COLUMNS."""
    return AttemptState(
        node_id=row[1],
        attempt=row[2],
        phase=AttemptPhase(row[3]),
        created_at_us=row[4],
        executor=row[5],
        incarnation=row[6],
        placed_at_us=row[7],
        started_at_us=row[8],
        ended_at_us=row[9],
        updated_at_us=row[10],
        seq=row[11],
        error=row[12],
        reason=row[13],
        log_uri=row[14],
        checkpoint_uri=row[15],
    )


def event_from(row: Sequence[Any]) -> RecordedEvent:
    """Of a row of EVENT_COLUMNS."""
    return RecordedEvent(row[1], row[2], row[3], row[4], row[5])


def _data_row(data: Data | None) -> Row:
    return _NO_DATA if data is None else (data.inline, data.uri, data.size)


def _data_from(row: Sequence[Any]) -> Data | None:
    return None if row[2] is None else Data(row[0], row[1], row[2])
