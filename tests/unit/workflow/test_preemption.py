"""Which attempts may run where they can be interrupted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flyteidl.admin import execution_pb2

from libs.workflow.machine import Execution, interruptible, new_execution, step
from tests.support.graphs import Plan, Step, graph_of, state_of

INSIDE = Plan((Step("n0", inside=Plan((Step("n0"),), name="inner")),))


def begun(plan: Plan, of_execution: bool | None = None) -> Execution:
    state = state_of(plan)
    if of_execution is not None:
        spec = execution_pb2.ExecutionSpec.FromString(state.spec)
        spec.interruptible.value = of_execution
        state.spec = spec.SerializeToString()
    execution = new_execution(state, graph_of(plan))
    step(execution, [], 1)
    return execution


@pytest.mark.parametrize(
    ("node", "of_execution", "workflow", "allowed"),
    [
        (None, None, False, False),
        (None, None, True, True),
        (None, False, True, False),
        (None, True, False, True),
        (False, True, True, False),
        (True, False, False, True),
    ],
)
def test_the_node_decides_then_the_execution_then_the_workflow(
    node: bool | None, of_execution: bool | None, workflow: bool, allowed: bool
) -> None:
    execution = begun(Plan((Step("n0"),)), of_execution)
    live = execution.live["n0"]
    live.spec = replace(live.spec, interruptible=node)
    live.scope.graph = replace(live.scope.graph, interruptible=workflow)
    assert interruptible(execution, live) is allowed


def test_what_is_said_of_a_workflow_holds_for_those_inside_it() -> None:
    execution = begun(INSIDE)
    execution.root.graph = replace(execution.root.graph, interruptible=True)
    assert interruptible(execution, execution.live["n0-0-n0"])


def test_the_last_attempt_that_the_system_allows_is_not_put_at_risk() -> None:
    execution = begun(Plan((Step("n0"),)), of_execution=True)
    live = execution.live["n0"]
    live.state.system_failures = live.spec.retry.system_retries - 1
    assert interruptible(execution, live)
    live.state.system_failures += 1
    assert not interruptible(execution, live)
