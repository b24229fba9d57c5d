"""What the log tells of executions."""

from __future__ import annotations

import logging

import pytest

from libs.telemetry.traces import TraceContext
from libs.workflow.state import Changes, RecordedEvent
from services.propeller import story
from tests.support.graphs import Plan, Step, state_of

ROOT = TraceContext.mint(b"0123456789abcdef", True)


def changes(*events: RecordedEvent) -> Changes:
    state = state_of(Plan((Step("n0"),)), key=7)
    state.traceparent = ROOT.traceparent()
    return Changes(state, events=list(events))


def test_a_failure_names_execution_node_attempt_and_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    story.tell([changes(RecordedEvent(1, "AttemptFailed", "n0", 2, "USER:ValueError: too hot"))])
    (line,) = caplog.records
    assert line.getMessage() == "AttemptFailed: USER:ValueError: too hot"
    told = {name: getattr(line, name) for name in ("execution", "node", "attempt", "trace_id", "span_id")}
    assert told == {
        "execution": "p:d:e7",
        "node": "n0",
        "attempt": 2,
        "trace_id": ROOT.trace_id,
        "span_id": ROOT.child("node", "n0").span_id,
    }


def test_what_goes_well_is_told_to_those_who_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    story.tell([changes(RecordedEvent(1, "ExecutionStarted"))])
    assert caplog.records == []
    caplog.set_level(logging.DEBUG)
    story.tell([changes(RecordedEvent(1, "ExecutionStarted"))])
    assert [line.getMessage() for line in caplog.records] == ["ExecutionStarted"]
