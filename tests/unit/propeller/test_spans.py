"""What an execution launches is part of its trace."""

from __future__ import annotations

from dataclasses import replace

from libs.telemetry.traces import TraceContext, Tracing
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import Changes, ExecutionState
from services.propeller.spans import Spans, child_traceparent, root_context
from tests.support.graphs import Plan, Step, state_of
from tests.support.spans import Kept

ROOT = TraceContext.mint(bytes(range(16)), sampled=True)


def parent() -> ExecutionState:
    return replace(state_of(Plan((Step("n0"),))), traceparent=ROOT.traceparent())


def child_of(execution: ExecutionState, node_id: str, key: int) -> ExecutionState:
    return replace(
        execution,
        key=key,
        parent_key=execution.key,
        parent_node_id=node_id,
        traceparent=child_traceparent(execution, node_id),
        phase=ExecutionPhase.SUCCEEDED,
    )


def context(execution: ExecutionState) -> TraceContext:
    found = root_context(execution)
    assert found is not None
    return found


def test_a_childs_span_stands_below_that_of_the_node_that_launched_it() -> None:
    kept = Kept()
    child = child_of(parent(), "n0", 2)
    Spans(Tracing(kept)).turn(Changes(child, True), 1, 2, (1, 2))
    span = kept.by_name()["execution"]
    assert span.context == context(child)
    assert span.context.trace_id == ROOT.trace_id
    assert span.parent_span_id == ROOT.child("node", "n0").span_id


def test_what_a_child_launches_stands_below_the_child() -> None:
    child = child_of(parent(), "n0", 2)
    grandchild = child_of(child, "n0", 3)
    kept = Kept()
    Spans(Tracing(kept)).turn(Changes(grandchild, True), 1, 2, (1, 2))
    assert kept.by_name()["execution"].parent_span_id == context(child).child("node", "n0").span_id


def test_two_children_of_one_node_have_spans_of_their_own() -> None:
    assert context(child_of(parent(), "n0", 2)) != context(child_of(parent(), "n0", 3))


def test_the_child_of_what_is_not_traced_is_not_traced() -> None:
    assert root_context(child_of(replace(parent(), traceparent=""), "n0", 2)) is None


def test_an_execution_that_nobody_launched_is_the_root_of_its_trace() -> None:
    kept = Kept()
    Spans(Tracing(kept)).turn(Changes(replace(parent(), phase=ExecutionPhase.SUCCEEDED), True), 1, 2, (1, 2))
    assert kept.by_name()["execution"].context == ROOT
    assert kept.by_name()["execution"].parent_span_id is None
