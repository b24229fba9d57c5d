"""What leaders and executors say to each other about attempts (`protos/executor.proto`), as values.

The executor's reports become events of the machine; slots, literal maps and attempt ids are the same on both sides.
"""

from __future__ import annotations

from collections.abc import Callable

from flyteidl.core import execution_pb2

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import AttemptId
from libs.workflow.machine import messages
from libs.workflow.phases import AttemptPhase, ErrorKind
from libs.workflow.quantities import Slots
from libs.workflow.state import EMPTY, Data
from protos import executor_pb2

FINAL_PHASES = frozenset(
    {
        executor_pb2.Report.PHASE_SUCCEEDED,
        executor_pb2.Report.PHASE_FAILED,
        executor_pb2.Report.PHASE_ABORTED,
        executor_pb2.Report.PHASE_REJECTED,
    }
)


def attempt_id(message: executor_pb2.AttemptId) -> AttemptId:
    return AttemptId(message.execution, message.node, message.attempt)


def attempt_id_message(identity: AttemptId) -> executor_pb2.AttemptId:
    return executor_pb2.AttemptId(execution=identity.execution, node=identity.node, attempt=identity.attempt)


def slots(message: executor_pb2.Resources) -> Slots:
    return Slots(message.cpu_millis, message.memory_bytes, message.gpus)


def slots_message(value: Slots) -> executor_pb2.Resources:
    return executor_pb2.Resources(cpu_millis=value.cpu_millis, memory_bytes=value.memory_bytes, gpus=value.gpus)


def data(message: executor_pb2.Data) -> Data:
    """A literal map; an absent one is the empty one."""
    kind = message.WhichOneof("value")
    if kind == "uri":
        return Data.at(message.uri, message.size)
    return Data.of(message.inline) if message.inline else EMPTY


def data_message(value: Data) -> executor_pb2.Data:
    if value.uri is not None:
        return executor_pb2.Data(uri=value.uri, size=value.size)
    return executor_pb2.Data(inline=value.inline or b"", size=value.size)


def is_final(report: executor_pb2.Report) -> bool:
    """Whether the executor keeps this report until it is acknowledged."""
    return report.phase in FINAL_PHASES


def event(report: executor_pb2.Report, executor: str) -> messages.Report:
    """A report of `executor`, as an event. Raises InvalidArgument for an unknown phase."""
    build = _EVENTS.get(report.phase)
    if build is None:
        raise InvalidArgument(f"phase: {report.phase} is not a phase of a report")
    return build(report, executor)


def _accepted(report: executor_pb2.Report, executor: str) -> messages.Report:
    return messages.Accepted(report.id.node, report.id.attempt, executor, report.seq, report.at_us)


def _started(report: executor_pb2.Report, executor: str) -> messages.Report:
    return messages.Started(report.id.node, report.id.attempt, executor, report.seq, report.at_us)


def _succeeded(report: executor_pb2.Report, executor: str) -> messages.Report:
    if report.dynamic:
        return _failed_dynamic(report, executor)
    return messages.Succeeded(
        node_id=report.id.node,
        attempt=report.id.attempt,
        executor=executor,
        seq=report.seq,
        at_us=report.at_us,
        started_us=report.started_us or None,
        outputs=data(report.outputs),
        deck_uri=report.deck_uri or None,
    )


def _failed_dynamic(report: executor_pb2.Report, executor: str) -> messages.Report:
    return messages.Failed(
        node_id=report.id.node,
        attempt=report.id.attempt,
        executor=executor,
        seq=report.seq,
        at_us=report.at_us,
        started_us=report.started_us or None,
        code="Unimplemented",
        message="the task produced a dynamic workflow (futures.pb), which this engine cannot run yet",
        kind=ErrorKind.USER,
        recoverable=False,
        deck_uri=report.deck_uri or None,
    )


def _failed(report: executor_pb2.Report, executor: str) -> messages.Report:
    error = execution_pb2.ExecutionError.FromString(report.error)
    return messages.Failed(
        node_id=report.id.node,
        attempt=report.id.attempt,
        executor=executor,
        seq=report.seq,
        at_us=report.at_us,
        started_us=report.started_us or None,
        code=error.code or "UnknownError",
        message=error.message,
        kind=ErrorKind(error.kind),
        recoverable=report.recoverable,
        deck_uri=report.deck_uri or None,
    )


def _stopped(report: executor_pb2.Report, executor: str) -> messages.Report:
    return messages.Stopped(
        report.id.node, report.id.attempt, executor, report.seq, report.at_us, report.reason or "stopped"
    )


def _rejected(report: executor_pb2.Report, executor: str) -> messages.Report:
    return messages.Rejected(report.id.node, report.id.attempt, executor, report.seq, report.reason)


_EVENTS: dict[int, Callable[[executor_pb2.Report, str], messages.Report]] = {
    executor_pb2.Report.PHASE_INITIALIZING: _accepted,
    executor_pb2.Report.PHASE_RUNNING: _started,
    executor_pb2.Report.PHASE_SUCCEEDED: _succeeded,
    executor_pb2.Report.PHASE_FAILED: _failed,
    executor_pb2.Report.PHASE_ABORTED: _stopped,
    executor_pb2.Report.PHASE_REJECTED: _rejected,
}

STARTED_PHASES = frozenset({AttemptPhase.INITIALIZING, AttemptPhase.RUNNING})
"""An attempt in one of these has reached its executor."""
