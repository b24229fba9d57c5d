"""What an executor is told about an attempt."""

from __future__ import annotations

from flyteidl.admin import execution_pb2
from flyteidl.core import security_pb2
from google.protobuf import wrappers_pb2

from libs.wire.session import NO_INDEX, Assignment
from libs.workflow.backend import Backend
from libs.workflow.graph import build
from libs.workflow.machine import Execution, new_execution, step
from libs.workflow.machine import messages as m
from services.propeller.assignments import Assignments
from tests.support import kinds, templates
from tests.support.flytetypes import INTEGER

XS = templates.list_of(templates.constant(5), templates.constant(6))


def items(sliced: bool, spec: execution_pb2.ExecutionSpec | None = None) -> Execution:
    """An execution whose array node has two items."""
    inner = templates.node("item", "add" if sliced else "pick")
    bound = {"x" if sliced else "xs": XS}
    template = templates.workflow(kinds.array("n0", inner, sliced=sliced, **bound), name="items", inputs={"x": INTEGER})
    state = kinds.accepted(template, 1, x=0)
    if spec is not None:
        state.spec = spec.SerializeToString()
    execution = new_execution(state, build(kinds.compiled(template)))
    step(execution, [], 1)
    return execution


def assigned(execution: Execution, node_id: str) -> Assignment:
    """The assignment of a node's first attempt."""
    step(execution, [m.Placed(node_id, 0, "e1", "life", "log")], 2)
    node = execution.node(node_id)
    assert node is not None
    return Assignments("/blob").assign(execution, node)


def test_an_item_of_a_list_has_its_elements_or_the_list_and_its_index() -> None:
    own = assigned(items(sliced=True), "n0-0-n1")
    assert own.array_index == NO_INDEX
    assert own.inputs.inline == kinds.accepted(templates.workflow(name="w"), 1, x=6).inputs.inline
    execution = items(sliced=False)
    shared = assigned(execution, "n0-0-n1")
    assert shared.array_index == 1
    assert shared.inputs == execution.live["n0"].state.inputs
    assert shared.output_prefix.endswith("/n0-0-n1/data/0")


def test_an_attempt_knows_whether_it_can_be_interrupted_and_whose_secrets_it_may_read() -> None:
    context = security_pb2.SecurityContext(secrets=[security_pb2.Secret(group="g", key="k")])
    spec = execution_pb2.ExecutionSpec(security_context=context, interruptible=wrappers_pb2.BoolValue(value=True))
    assignment = assigned(items(sliced=True, spec=spec), "n0-0-n0")
    assert assignment.interruptible
    assert security_pb2.SecurityContext.FromString(assignment.security_context) == context


def test_the_previous_checkpoint_is_that_of_the_last_attempt_that_ran() -> None:
    execution = items(sliced=True)
    node = execution.node("n0-0-n0")
    assert node is not None
    step(execution, [m.Placed("n0-0-n0", 0, "e1", "life", "log"), m.Started("n0-0-n0", 0, "e1", 1, 2)], 2)
    step(execution, [m.HandedBack("n0-0-n0", 0, "e1", 2, 3, None, "its executor drains")], 3)
    step(execution, [m.Placed("n0-0-n0", 1, "e2", "life", "log")], 4)
    second = Assignments("/blob").assign(execution, node)
    first_raw = second.raw_output_prefix.removesuffix("/1") + "/0"
    assert second.previous_checkpoint == f"{first_raw}/_flytecheckpoints"
    step(execution, [m.Rejected("n0-0-n0", 1, "e2", 1, "no room")], 5)
    step(execution, [], 1_000_000)
    step(execution, [m.Placed("n0-0-n0", 2, "e3", "life", "log")], 1_000_001)
    assert Assignments("/blob").assign(execution, node).previous_checkpoint == second.previous_checkpoint


def test_executors_are_told_what_the_installation_makes_of_tasks() -> None:
    execution = items(sliced=True)
    assert not assigned(execution, "n0-0-n0").as_pod
    node = execution.node("n0-0-n0")
    assert node is not None
    assert Assignments("/blob", Backend.POD).assign(execution, node).as_pod
