"""State objects to rows and back: the only place that knows how the one becomes the other.

A row is a tuple in the order of the column names beside it, so that a thousand of them cost no dictionaries. The
column lists are checked against `schema` by a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, TypeVar

from libs.store.records import LaunchPlanRecord
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import (
    AttemptPhase,
    CacheStatus,
    Desired,
    ExecutionPhase,
    NodeKind,
    NodePhase,
    ReservationStatus,
)
from libs.workflow.state import (
    AttemptState,
    Data,
    ExecutionState,
    Intent,
    NodeState,
    RecordedEvent,
    SignalState,
)

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

EXECUTION_COLUMNS: tuple[str, ...] = (
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
    "principal",
    "parent_key",
    "parent_node_id",
    "recovers_key",
)
"""An `ExecutionState`, whole (but for the signals, which have a table)."""

INTENT_COLUMNS: tuple[str, ...] = ("generation", "desired", "abort_cause", "abort_principal")

NODE_COLUMNS: tuple[str, ...] = (
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
    "choice",
    "child_key",
    "futures_uri",
    "closure_uri",
    "items",
    "cache_status",
    "cache_key",
    "reservation",
)

ATTEMPT_COLUMNS: tuple[str, ...] = (
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

EVENT_COLUMNS: tuple[str, ...] = ("execution_key", "at_us", "kind", "node_id", "attempt", "message")

SIGNAL_COLUMNS: tuple[str, ...] = ("execution_key", "signal_id", "node_id", "type", "principal", "created_at_us")
"""What the leader writes of a signal; `principal` is empty until `admin` writes it with the value."""

LAUNCH_PLAN_COLUMNS: tuple[str, ...] = (
    "project",
    "domain",
    "name",
    "version",
    "workflow_project",
    "workflow_domain",
    "workflow_name",
    "workflow_version",
    "digest",
    "spec",
    "expected_inputs",
    "expected_outputs",
    "state",
    "created_at_us",
    "updated_at_us",
)

E = TypeVar("E", bound=IntEnum)


class _Numbered(dict[int, E]):
    """The members of an enumeration by their numbers: to call it takes as long as to look ten of these up."""

    def __init__(self, kind: type[E]) -> None:
        super().__init__((each.value, each) for each in kind)
        self._kind = kind

    def __missing__(self, number: int) -> E:
        return self._kind(number)  # raises ValueError, which says it in words


_EXECUTION_PHASES = _Numbered(ExecutionPhase)
_DESIRED = _Numbered(Desired)
_NODE_KINDS = _Numbered(NodeKind)
_NODE_PHASES = _Numbered(NodePhase)
_CACHE_STATUS = _Numbered(CacheStatus)
_RESERVATIONS = _Numbered(ReservationStatus)
_ATTEMPT_PHASES = _Numbered(AttemptPhase)

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
        *data_row(execution.outputs),
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
        *data_row(execution.inputs),
        execution.created_at_us,
        execution.traceparent,
        *intent_row(execution.intent),
        execution.principal,
        execution.parent_key,
        execution.parent_node_id,
        execution.recovers_key,
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
        *data_row(node.inputs),
        *data_row(node.outputs),
        node.error,
        node.deck_uri,
        node.choice,
        node.child_key,
        node.futures_uri,
        node.closure_uri,
        node.items,
        int(node.cache_status),
        node.cache_key,
        int(node.reservation),
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


def signal_row(key: int, signal: SignalState) -> Row:
    """The columns SIGNAL_COLUMNS."""
    return key, signal.id, signal.node_id, signal.type, "", signal.created_at_us


def execution_from(row: Sequence[Any], signals: Sequence[tuple[str, bytes]] = ()) -> ExecutionState:
    """Of a row of EXECUTION_COLUMNS."""
    return ExecutionState(
        key=row[0],
        phase=_EXECUTION_PHASES[row[1]],
        observed_generation=row[2],
        next_wake_at_us=row[3],
        started_at_us=row[4],
        ended_at_us=row[5],
        updated_at_us=row[6],
        outputs=data_from(row[7:10]),
        error=row[10],
        id=ExecutionId(*row[11:14]),
        shard=row[14],
        root_key=row[15],
        workflow=EntityId(*row[16:20]),
        launch_plan=EntityId(*row[20:24]),
        spec=row[24],
        inputs=data_from(row[25:28]) or Data.of(b""),
        created_at_us=row[28],
        traceparent=row[29],
        intent=intent_from(row[30:34], signals),
        principal=row[34],
        parent_key=row[35],
        parent_node_id=row[36],
        recovers_key=row[37],
    )


def intent_from(row: Sequence[Any], signals: Sequence[tuple[str, bytes]] = ()) -> Intent:
    """Of a row of INTENT_COLUMNS."""
    return Intent(row[0], _DESIRED[row[1]], row[2], row[3], tuple(signals))


def node_from(row: Sequence[Any]) -> NodeState:
    """Of a row of NODE_COLUMNS."""
    return NodeState(
        id=row[1],
        spec_id=row[2],
        parent_id=row[3],
        kind=_NODE_KINDS[row[4]],
        phase=_NODE_PHASES[row[5]],
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
        inputs=data_from(row[19:22]),
        outputs=data_from(row[22:25]),
        error=row[25],
        deck_uri=row[26],
        choice=row[27],
        child_key=row[28],
        futures_uri=row[29],
        closure_uri=row[30],
        items=row[31],
        cache_status=_CACHE_STATUS[row[32]],
        cache_key=row[33],
        reservation=_RESERVATIONS[row[34]],
    )


def attempt_from(row: Sequence[Any]) -> AttemptState:
    """Of a row of ATTEMPT_COLUMNS."""
    return AttemptState(
        node_id=row[1],
        attempt=row[2],
        phase=_ATTEMPT_PHASES[row[3]],
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


def launch_plan_from(row: Sequence[Any]) -> LaunchPlanRecord:
    """Of a row of LAUNCH_PLAN_COLUMNS."""
    return LaunchPlanRecord(EntityId(*row[0:4]), EntityId(*row[4:8]), *row[8:])


def data_from(row: Sequence[Any]) -> Data | None:
    """Of the three columns of a literal map."""
    return None if row[2] is None else Data(row[0], row[1], row[2])


def data_row(data: Data | None) -> Row:
    """The three columns of a literal map."""
    return _NO_DATA if data is None else (data.inline, data.uri, data.size)
