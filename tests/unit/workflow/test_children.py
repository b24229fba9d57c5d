"""What a launch plan node and its child are given: the plan's own inputs are there, checked, and stored once."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import execution_pb2, interface_pb2, literals_pb2, types_pb2

from libs.workflow import graph
from libs.workflow.graph import LaunchPlanTarget
from libs.workflow.identity import EntityId
from libs.workflow.machine import INLINE_LIMIT_BYTES, Execution, new_execution, step
from libs.workflow.machine import messages as m
from libs.workflow.phases import NodePhase
from libs.workflow.state import Data
from tests.support.graphs import Plan, Step, closure_of, state_of

BELOW = Plan((Step("n0"),), name="below")
PLAN = Plan((Step("n0", launch=BELOW),))
ID = EntityId("p", "d", "below", "v")


def executed(expected: interface_pb2.ParameterMap, fixed: dict[str, Any] | None = None) -> Execution:
    spec = launch_plan_pb2.LaunchPlanSpec(fixed_inputs=literals_pb2.LiteralMap(literals=fixed or {}))
    plans = {ID: LaunchPlanTarget(ID, ID, spec, expected, ("o",))}
    return new_execution(state_of(PLAN, 3), graph.build(closure_of(PLAN), launch_plans=plans))


def takes_x(kind: int = types_pb2.INTEGER) -> interface_pb2.ParameterMap:
    expected = interface_pb2.ParameterMap()
    expected.parameters["x"].var.type.simple = kind
    expected.parameters["x"].required = True
    return expected


def text(length: int) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.primitive.string_value = "y" * length
    return literal


def test_defaults_and_fixed_inputs_are_the_nodes_and_the_childs() -> None:
    expected = takes_x()
    expected.parameters["note"].var.type.simple = types_pb2.STRING
    expected.parameters["note"].default.CopyFrom(text(2))
    execution = executed(expected, {"unit": text(1)})
    (child,) = step(execution, [], 1).changes.children
    given = literals_pb2.LiteralMap.FromString(child.inputs.inline or b"").literals
    assert (given["x"].scalar.primitive.integer, given["note"], given["unit"]) == (3, text(2), text(1))
    assert execution.live["n0"].state.inputs is child.inputs


def test_what_is_too_large_for_a_row_is_written_first_and_once() -> None:
    expected = takes_x()
    expected.parameters["note"].var.type.simple = types_pb2.STRING
    expected.parameters["note"].default.CopyFrom(text(INLINE_LIMIT_BYTES))
    execution = executed(expected)
    turn = step(execution, [], 1)
    (write,) = [command for command in turn.commands if isinstance(command, m.WriteBlob)]
    assert not turn.changes.children
    data = Data.at("blob:/n0", len(write.content))
    (child,) = step(execution, [m.BlobWritten("n0", m.BlobRole.INPUTS, data)], 2).changes.children
    assert child.inputs is data
    assert execution.live["n0"].state.inputs is data


def test_inputs_that_the_plan_does_not_take_fail_the_node_and_launch_nothing() -> None:
    turn = step(executed(takes_x(types_pb2.STRING)), [], 1)
    assert not turn.changes.children
    node = turn.changes.nodes["n0"]
    assert node.phase is NodePhase.FAILED
    error = execution_pb2.ExecutionError.FromString(node.error or b"")
    assert error.code == "LaunchPlanInputsInvalid"
    assert "inputs.x: expected STRING" in error.message
