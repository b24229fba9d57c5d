"""An executor's reports as events of the machine."""

from __future__ import annotations

from collections.abc import Callable

from flyteidl.core import execution_pb2

from libs.wire.session import Report, ReportPhase
from libs.workflow.machine import messages as m
from libs.workflow.phases import ErrorKind
from libs.workflow.state import EMPTY


def event(report: Report, executor: str) -> m.Report:
    """What `executor` reports, as the machine folds it in."""
    return _EVENTS[report.phase](report, executor)


def _accepted(report: Report, executor: str) -> m.Report:
    return m.Accepted(report.id.node, report.id.attempt, executor, report.seq, report.at_us, report.reason)


def _started(report: Report, executor: str) -> m.Report:
    return m.Started(report.id.node, report.id.attempt, executor, report.seq, report.at_us)


def _succeeded(report: Report, executor: str) -> m.Report:
    return m.Succeeded(
        node_id=report.id.node,
        attempt=report.id.attempt,
        executor=executor,
        seq=report.seq,
        at_us=report.at_us,
        started_us=report.started_us or None,
        outputs=EMPTY if report.dynamic else report.outputs or EMPTY,
        deck_uri=report.deck_uri or None,
        futures=report.outputs if report.dynamic else None,
    )


def _failed(report: Report, executor: str) -> m.Report:
    error = execution_pb2.ExecutionError.FromString(report.error)
    return m.Failed(
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


def _stopped(report: Report, executor: str) -> m.Report:
    return m.Stopped(report.id.node, report.id.attempt, executor, report.seq, report.at_us, report.reason or "stopped")


def _rejected(report: Report, executor: str) -> m.Report:
    return m.Rejected(report.id.node, report.id.attempt, executor, report.seq, report.reason)


def _handed_back(report: Report, executor: str) -> m.Report:
    return m.HandedBack(
        node_id=report.id.node,
        attempt=report.id.attempt,
        executor=executor,
        seq=report.seq,
        at_us=report.at_us,
        started_us=report.started_us or None,
        reason=report.reason,
    )


_EVENTS: dict[ReportPhase, Callable[[Report, str], m.Report]] = {
    ReportPhase.INITIALIZING: _accepted,
    ReportPhase.RUNNING: _started,
    ReportPhase.SUCCEEDED: _succeeded,
    ReportPhase.FAILED: _failed,
    ReportPhase.ABORTED: _stopped,
    ReportPhase.REJECTED: _rejected,
    ReportPhase.HANDED_BACK: _handed_back,
}
