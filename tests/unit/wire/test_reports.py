"""Reports as events of the machine."""

from __future__ import annotations

from flyteidl.core import execution_pb2

from libs.wire import reports
from libs.wire.session import Report, ReportPhase
from libs.workflow.identity import AttemptId
from libs.workflow.machine import messages as m
from libs.workflow.phases import ErrorKind
from libs.workflow.state import EMPTY, Data

ID = AttemptId(7, "n0", 2)


def test_a_success_brings_its_outputs() -> None:
    outputs = Data.of(b"out")
    report = Report(ID, 3, ReportPhase.SUCCEEDED, 5, outputs, deck_uri="/deck", started_us=4)
    assert reports.event(report, "ex") == m.Succeeded("n0", 2, "ex", 3, 5, 4, outputs, "/deck")


def test_a_dynamic_success_brings_the_place_of_its_plan_and_no_outputs() -> None:
    plan = Data.at("/futures.pb", 9)
    report = Report(ID, 3, ReportPhase.SUCCEEDED, 5, plan, dynamic=True, started_us=4)
    assert reports.event(report, "ex") == m.Succeeded("n0", 2, "ex", 3, 5, 4, EMPTY, None, futures=plan)


def test_a_failure_brings_who_is_to_blame_and_whether_to_try_again() -> None:
    error = execution_pb2.ExecutionError(message="no", kind=execution_pb2.ExecutionError.SYSTEM).SerializeToString()
    event = reports.event(Report(ID, 3, ReportPhase.FAILED, 5, error=error, recoverable=True), "ex")
    assert event == m.Failed("n0", 2, "ex", 3, 5, None, "UnknownError", "no", ErrorKind.SYSTEM, True)


def test_what_is_handed_back_brings_its_start_and_the_reason() -> None:
    report = Report(ID, 3, ReportPhase.HANDED_BACK, 5, reason="its executor drains", started_us=4)
    assert reports.event(report, "ex") == m.HandedBack("n0", 2, "ex", 3, 5, 4, "its executor drains")
