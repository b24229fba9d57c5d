"""Where the time of an execution went, as the SDK reads it; the leader is a stand-in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from flyteidl.admin import execution_pb2
from flyteidl.core import metrics_pb2
from flytekit.models.core.identifier import WorkflowExecutionIdentifier

from libs.workflow import launch
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Data, ExecutionState
from services.admin import metrics
from tests.integration.test_admin_kinds import launch_plan_of, launched
from tests.support import flyte, refusal_cases
from tests.support.admin import Leader
from tests.support.refusal_cases import good_inputs
from tests.support.smalltasks import Registrar
from tests.support.stored import TASK

pytestmark = pytest.mark.timeout(60)

SECOND = 1_000_000
ID = WorkflowExecutionIdentifier(flyte.PROJECT, flyte.DOMAIN, "finished")


@pytest.fixture
def registrar(user: flyte.Client) -> Iterator[Registrar]:
    with user.stubs() as stubs:
        registrar = Registrar(stubs)
        refusal_cases.prepare(registrar)
        yield registrar


@pytest.fixture
def finished(registrar: Registrar, leading: Leader) -> ExecutionState:
    """An execution with a task that was tried twice, a gate, a sub-workflow, a list and a child."""
    state = launched(registrar, leading, "finished")
    at = state.created_at_us
    child = launch.launch_child(
        state,
        "n4",
        0,
        state.launch_plan,
        launch_plan_of(registrar),
        state.workflow,
        Data.of(good_inputs().SerializeToString()),
        at,
    )
    child.created_at_us = at + SECOND
    times: dict[str, Any] = {
        "created_at_us": at + SECOND,
        "started_at_us": at + 2 * SECOND,
        "ended_at_us": at + 20 * SECOND,
    }
    nodes = [
        leading.node("n0", NodePhase.SUCCEEDED, NodeKind.TASK, task=TASK, attempt=1, **times),
        leading.node("n1", NodePhase.SUCCEEDED, NodeKind.GATE, **times),
        leading.node("n2", NodePhase.SUCCEEDED, NodeKind.SUBWORKFLOW, **times),
        leading.node("n2-0-n0", NodePhase.SUCCEEDED, NodeKind.TASK, parent_id="n2", task=TASK, **times),
        leading.node("n3", NodePhase.SUCCEEDED, NodeKind.ARRAY, items=1, **times),
        leading.node("n3-0-n0", NodePhase.SUCCEEDED, NodeKind.TASK, parent_id="n3", task=TASK, **times),
        leading.node("n4", NodePhase.SUCCEEDED, NodeKind.LAUNCH_PLAN, child_key=child.key, **times),
    ]
    attempts = [
        leading.attempt(
            "n0",
            number,
            phase,
            created_at_us=at + (2 + 8 * number) * SECOND,
            started_at_us=at + (5 + 8 * number) * SECOND,
            ended_at_us=at + (9 + 8 * number) * SECOND,
        )
        for number, phase in enumerate((AttemptPhase.RETRYABLE_FAILED, AttemptPhase.SUCCEEDED))
    ]
    leading.commit(state, nodes=nodes, attempts=attempts, children=[child])
    leading.commit(state, ExecutionPhase.SUCCEEDED, ended_at_us=at + 21 * SECOND)
    return state


def spans_of(user: flyte.Client, depth: int = -1) -> metrics_pb2.Span:
    return user.remote().client.get_execution_metrics(ID, depth)


def operations(span: metrics_pb2.Span) -> list[tuple[str, int]]:
    return [
        (one.operation_id, round((one.end_time.ToMicroseconds() - one.start_time.ToMicroseconds()) / SECOND))
        for one in span.spans
        if one.operation_id
    ]


def nodes_of(span: metrics_pb2.Span) -> dict[str, metrics_pb2.Span]:
    return {one.node_id.node_id: one for one in span.spans if one.HasField("node_id")}


def test_an_execution_is_broken_down_to_its_attempts(user: flyte.Client, finished: ExecutionState) -> None:
    span = spans_of(user)
    assert operations(span) == [("WORKFLOW_SETUP", 1), ("WORKFLOW_TEARDOWN", 1)]
    nodes = nodes_of(span)
    assert list(nodes) == ["n0", "n1", "n2", "n3", "n4"]
    assert operations(nodes["n0"]) == [
        ("NODE_SETUP", 1),
        ("NODE_RESET", 1),
        ("NODE_TEARDOWN", 3),
    ]
    attempts = [one for one in nodes["n0"].spans if one.HasField("task_id")]
    assert [one.task_id.retry_attempt for one in attempts] == [0, 1]
    assert operations(attempts[1]) == [("TASK_SETUP", 3), ("TASK_RUNTIME", 4)]
    assert operations(nodes["n1"]) == [("NODE_SETUP", 1), ("NODE_IDLE", 18)]
    assert list(nodes_of(nodes["n2"])) == ["n2-0-n0"]
    assert nodes_of(nodes["n3"]) == {}
    (child,) = [one for one in nodes["n4"].spans if one.HasField("workflow_id")]
    assert child.workflow_id.name != "finished"


def test_the_sdk_prints_it(user: flyte.Client, finished: ExecutionState, capsys: pytest.CaptureFixture[str]) -> None:
    shown = user.remote().get_execution_metrics(ID, -1)
    shown.dump()
    shown.explain()
    printed = capsys.readouterr().out
    assert "TASK_RUNTIME: 8.0" in printed
    assert "node/n0" in printed


def test_no_more_levels_are_told_than_are_asked_for(user: flyte.Client, finished: ExecutionState) -> None:
    assert len(spans_of(user, 0).spans) == 0
    nodes = nodes_of(spans_of(user, 1))
    assert [len(node.spans) for node in nodes.values()] == [0] * 5
    deeper = nodes_of(spans_of(user, 2))
    assert [len(one.spans) for one in deeper["n0"].spans if one.HasField("task_id")] == [0, 0]


def test_what_has_not_ended_lasts_until_now(user: flyte.Client, registrar: Registrar, leading: Leader) -> None:
    state = launched(registrar, leading, "running")
    leading.commit(state, nodes=[leading.node("n0", NodePhase.RUNNING, task=TASK)])
    request = execution_pb2.WorkflowExecutionGetMetricsRequest(id=registrar.execution_id("running"), depth=-1)
    span = registrar.stubs.admin.GetExecutionMetrics(request, timeout=10).span
    assert span.end_time.ToSeconds() == pytest.approx(time.time(), abs=5)
    assert nodes_of(span)["n0"].end_time == span.end_time


def test_more_than_a_client_takes_is_refused_and_says_what_to_do(
    registrar: Registrar, finished: ExecutionState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "NODES", 5)
    request = execution_pb2.WorkflowExecutionGetMetricsRequest(id=registrar.execution_id("finished"), depth=-1)
    with pytest.raises(grpc.RpcError) as refused:
        registrar.stubs.admin.GetExecutionMetrics(request, timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "depth" in str(refused.value.details())
    request.depth = 1
    assert len(registrar.stubs.admin.GetExecutionMetrics(request, timeout=10).span.spans) == 7
