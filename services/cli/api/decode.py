"""From Flyte's messages, and ours, to views."""

from __future__ import annotations

from flyteidl.admin import execution_pb2, launch_plan_pb2, node_execution_pb2, signal_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from protos import airscrew_pb2
from services.cli import views


def execution_id(message: identifier_pb2.WorkflowExecutionIdentifier) -> ExecutionId:
    return ExecutionId(message.project, message.domain, message.name)


def execution(message: execution_pb2.Execution) -> views.Execution:
    """An execution as lists and trees have it."""
    closure = message.closure
    started = _microseconds(closure, "started_at")
    phase = ExecutionPhase(closure.phase)
    return views.Execution(
        id=execution_id(message.id),
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


def node(
    message: node_execution_pb2.NodeExecution,
    more: airscrew_pb2.GetTreeReply.Node | None = None,
) -> views.Node:
    """A node execution, with what only our own API says of it."""
    more = more or airscrew_pb2.GetTreeReply.Node()
    closure = message.closure
    started = _microseconds(closure, "started_at")
    phase = NodePhase[more.phase] if more.phase else NodePhase(closure.phase)
    return views.Node(
        id=message.id.node_id,
        parent_id=more.parent_id,
        kind=more.kind,
        task=more.task,
        phase=phase,
        created_us=_microseconds(closure, "created_at"),
        started_us=started,
        ended_us=_end(closure, started, phase.terminal),
        error=_error(closure.error) if closure.HasField("error") else "",
        attempts=tuple(map(_attempt, more.attempts)),
        cache=more.cache,
        child=execution_id(more.child) if more.HasField("child") else None,
        is_array=message.metadata.is_array,
        size=more.size if more.kind == "array" else None,
        items={NodePhase[name]: count for name, count in more.items.items()},
    )


def cause(message: airscrew_pb2.Cause) -> views.Cause:
    return views.Cause(
        message.code,
        message.sentence,
        execution_id(message.execution),
        message.node_id,
        message.attempt if message.HasField("attempt") else None,
        message.since_us or None,
        message.until_us or None,
        dict(message.facts),
        tuple(map(cause, message.causes)),
    )


def event(message: airscrew_pb2.ListEventsReply.Event) -> views.Event:
    attempt = message.attempt if message.HasField("attempt") else None
    return views.Event(message.at_us, message.kind, message.node_id, attempt, message.message)


def signal(message: signal_pb2.Signal, node_id: str = "") -> views.Signal:
    """A signal, given or not."""
    return views.Signal(
        id=message.id.signal_id,
        node_id=node_id,
        type=message.type,
        value=message.value if message.HasField("value") else None,
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


def launch_plan(message: launch_plan_pb2.LaunchPlan) -> views.LaunchPlan:
    id = message.id
    return views.LaunchPlan(EntityId(id.project, id.domain, id.name, id.version), message.closure.expected_inputs)
