"""What the machine makes of what users and outdated readers tell it. Its behaviour as a whole is in `scenarios`."""

from __future__ import annotations

import pytest
from flyteidl.core import execution_pb2, literals_pb2

from libs.workflow import graph
from libs.workflow.machine import INLINE_LIMIT_BYTES
from libs.workflow.machine import messages as m
from libs.workflow.machine.starts import STARTS_AT_ONCE
from libs.workflow.phases import Desired, ErrorKind, ExecutionPhase, NodePhase
from libs.workflow.state import Data, Intent
from tests.support.graphs import Plan, Step, closure_of, number, state_of
from tests.support.machine import World, world, world_of


def running(plan: Plan) -> World:
    it = world(state_of(plan), graph.build(closure_of(plan)))
    it.begin()
    it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    return it


def failure(code: str, message: str) -> m.Failed:
    return m.Failed("n0", 0, "e1", 1, 5, None, code, message, ErrorKind.USER, recoverable=False)


def test_text_that_no_database_stores_or_is_endless_is_made_fit_for_its_column() -> None:
    it = running(Plan((Step("n0"),)))
    turn = it.turn(failure("Code\0" + "x" * 5_000, "y" * 200_000 + "\0end"))
    stored = [event.message for event in turn.changes.events] + [it.attempts["n0", 0].reason]
    assert all("\0" not in text and len(text) <= 1024 for text in stored)
    assert stored[0].endswith("end")
    error = execution_pb2.ExecutionError.FromString(it.state.error or b"")
    assert "\0" not in error.message
    assert len(error.message) <= 100 * 1024


def test_a_task_that_waits_for_executions_of_its_own_does_not_count_for_max_parallelism() -> None:
    plan = Plan((Step("n0"), Step("n1"), Step("n2")), max_parallelism=1)
    closure = closure_of(plan)
    closure.tasks.add().CopyFrom(closure.tasks[0])
    eager = closure.tasks[-1].template
    eager.id.name, eager.metadata.is_eager = "eager", True
    for node in closure.primary.template.nodes:
        if node.id in ("n0", "n1"):
            node.task_node.reference_id.CopyFrom(eager.id)
    it = world(state_of(plan), graph.build(closure))
    turn = it.begin()
    assert {name for name, _ in turn.changes.attempts} == {"n0", "n1", "n2"}
    it.forget()
    assert it.turn(m.Placed("n0", 0, "e1", "life", "log")).changes.attempts
    assert it.execution.running == 1, "a new leader counts as the former one did"


def test_an_intent_that_was_read_before_a_newer_one_changes_nothing() -> None:
    it = running(Plan((Step("n0"),)))
    it.abort()
    it.turn(m.IntentRead(Intent(1, Desired.RUN)))
    assert it.execution.state.intent.desired is Desired.ABORT
    assert it.state.observed_generation == 2


def test_many_events_of_one_turn_are_one_set_of_changes() -> None:
    it = running(Plan((Step("n0"), Step("n1"))))
    turn = it.turn(
        m.Placed("n1", 0, "e1", "life", "log"),
        m.Started("n1", 0, "e1", 1, 5),
        failure("Code", "text"),
        m.Stopped("n1", 0, "e1", 2, 6, "told to"),
    )
    assert turn.changes.execution.phase is ExecutionPhase.FAILED
    assert {name: node.phase for name, node in turn.changes.nodes.items()} == {
        "n0": NodePhase.FAILED,
        "n1": NodePhase.ABORTED,
    }
    assert m.Dispatch("n1", 0) in turn.commands, "who carries it out finds that the attempt is over"


@pytest.mark.parametrize("size", [10, INLINE_LIMIT_BYTES])
def test_a_node_whose_inputs_come_with_two_blobs_at_once_starts_once(size: int) -> None:
    plan = Plan((Step("n0"), Step("n1"), Step("n2", ("n0", "n1"))))
    it = world(state_of(plan), graph.build(closure_of(plan)))
    it.begin()
    for node in ("n0", "n1"):
        it.turn(m.Placed(node, 0, "e1", "life", "log"))
        it.turn(m.Succeeded(node, 0, "e1", 1, 5, None, Data.at(f"blob:/{node}", size)))
    content = literals_pb2.LiteralMap()
    content.literals["o"].scalar.primitive.string_value = "x" * size
    blob = content.SerializeToString()
    turn = it.turn(m.BlobRead("blob:/n0", blob), m.BlobRead("blob:/n1", blob))
    assert [type(command) for command in turn.commands] == [m.Seek if size == 10 else m.WriteBlob]


def test_what_ran_in_a_node_is_forgotten_with_its_end_while_the_execution_goes_on() -> None:
    it = world_of(Plan((Step("n0", inside=Plan((Step("i0"),), name="inner")), Step("n1"))))
    it.begin()
    node = it.execution.live["n0"]
    assert it.execution.live["n0"].child is not None
    for name in ("i0", "sum"):
        it.turn(m.Placed(f"n0-0-{name}", 0, "e1", "life", "log"))
        outputs = literals_pb2.LiteralMap(literals={"o": number(1)})
        it.turn(m.Succeeded(f"n0-0-{name}", 0, "e1", 1, 5, None, Data.of(outputs.SerializeToString())))
    assert it.nodes["n0"].phase is NodePhase.SUCCEEDED
    assert it.nodes["n1"].phase is NodePhase.QUEUED
    assert node.child is None
    it.forget()
    (again,) = (each for each in it.execution.root.nodes if each is not None and each.state.id == "n0")
    assert again.child is None


def test_what_a_node_gives_goes_on_as_it_is_when_all_of_it_is_read_by_its_names() -> None:
    it = running(Plan((Step("n0"),)))
    given = literals_pb2.LiteralMap(literals={"o": number(1)}).SerializeToString()
    strange = given + b"\x98\x06\x01"  # a field that nobody knows
    it.turn(m.Succeeded("n0", 0, "e1", 1, 5, None, Data.of(strange)))
    it.turn(m.Placed("sum", 0, "e1", "life", "log"))
    assert it.nodes["sum"].inputs != Data.of(strange), "it is called otherwise there"
    it.turn(m.Succeeded("sum", 0, "e1", 1, 5, None, Data.of(strange)))
    assert it.state.outputs == Data.of(strange)


def test_of_what_a_node_gives_only_goes_on_what_is_read() -> None:
    it = running(Plan((Step("n0"),)))
    one = literals_pb2.LiteralMap(literals={"o": number(1)})
    it.turn(m.Succeeded("n0", 0, "e1", 1, 5, None, Data.of(one.SerializeToString())))
    it.turn(m.Placed("sum", 0, "e1", "life", "log"))
    more = literals_pb2.LiteralMap(literals={"o": number(2), "more": number(3)})
    it.turn(m.Succeeded("sum", 0, "e1", 1, 5, None, Data.of(more.SerializeToString())))
    assert it.state.outputs == Data.of(literals_pb2.LiteralMap(literals={"o": number(2)}).SerializeToString())


def test_a_step_starts_so_many_nodes_and_the_next_ones_go_on_also_under_a_new_leader() -> None:
    width = 2 * STARTS_AT_ONCE
    it = world(state_of(plan := Plan(tuple(Step(f"n{n}") for n in range(width)))), graph.build(closure_of(plan)))
    first = it.begin()
    assert len(first.changes.nodes) == STARTS_AT_ONCE, "the start node is one of them"
    assert it.execution.ready
    second = it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    assert len(second.changes.nodes) == STARTS_AT_ONCE
    assert ("n0", 0) in second.changes.attempts, "what is told meanwhile does not wait for the others"
    it.forget()
    third = it.turn()
    assert set(third.changes.nodes) == {f"n{width - 1}"}
    assert not it.execution.ready
