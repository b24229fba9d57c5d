"""What is recovered of arrays, of large outputs, and of nodes that have changed; more is in `scenarios/recover_*`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.workflow.identity import EntityId
from libs.workflow.machine import messages as m
from libs.workflow.machine import restore
from libs.workflow.phases import ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Data, NodeState, Snapshot
from tests.support.graphs import Array, Plan, Step, graph_of, state_of
from tests.support.machine import World, world_of
from tests.support.oracle import all_is_well


def broken(*paths: str) -> World:
    """An array of four items whose items of these ids have failed."""
    plan = Plan((Step("n0", array=Array(Step("item"), {"x": (1, 2, 3, 4)}, sliced=True, run_all=True)),))
    it = world_of(plan, 0, lambda path, attempt: "fatal" if path in paths else "succeed")
    it.run()
    assert it.state.phase is ExecutionPhase.FAILED
    it.store.outcome = all_is_well
    return it


@pytest.mark.parametrize("failed", [("n0-0-n1",), ("n0-0-n0", "n0-0-n3"), tuple(f"n0-0-n{i}" for i in range(4))])
def test_only_the_items_that_failed_run_again(failed: tuple[str, ...]) -> None:
    it = broken(*failed)
    new = it.store.recover(1, 2)
    new.run()
    assert new.state.phase is ExecutionPhase.SUCCEEDED
    assert new.result() == 2 + 3 + 4 + 5
    assert {node_id for node_id, _ in new.attempts} == {*failed, "sum"}
    recovered = {node.id for node in new.nodes.values() if node.phase is NodePhase.RECOVERED}
    assert recovered == {f"n0-0-n{index}" for index in range(4)} - set(failed)


def test_items_that_are_recovered_are_counted_by_a_new_leader() -> None:
    new = broken("n0-0-n2").store.recover(1, 2)
    new.begin()
    new.crash()
    new.run()
    assert new.result() == 2 + 3 + 4 + 5


def test_an_array_that_had_succeeded_is_recovered_as_a_whole_and_says_how_many_items_it_had() -> None:
    plan = Plan((Step("n0", array=Array(Step("item"), {"x": (1, 2)}, sliced=True)), Step("n1", ("n0",))))
    it = world_of(plan, 0, lambda path, attempt: "fatal" if path == "n1" else "succeed")
    it.run()
    it.store.outcome = all_is_well
    new = it.store.recover(1, 2)
    new.run()
    assert (new.nodes["n0"].phase, new.nodes["n0"].items) == (NodePhase.RECOVERED, 2)
    assert new.result() == 2 + 3 + 1
    assert not any(node.parent_id == "n0" for node in new.nodes.values())


CHAIN = Plan((Step("n0"), Step("n1", ("n0",))))
ADD = EntityId("p", "d", "add", "v")
ELSEWHERE = NodeState(
    "n0",
    "n0",
    "",
    NodeKind.TASK,
    NodePhase.SUCCEEDED,
    task=ADD,
    inputs=Data.at("old/inputs", 9),
    outputs=Data.at("old/outputs", 9),
    deck_uri="old/deck",
)


def recovering(old: NodeState) -> World:
    it = world_of(CHAIN)
    it.execution = restore(Snapshot(state_of(CHAIN), [], [], [old]), graph_of(CHAIN))
    return it


def test_what_lies_in_the_files_of_the_old_execution_stays_there() -> None:
    it = recovering(ELSEWHERE)
    turn = it.begin()
    node = it.nodes["n0"]
    assert node.phase is NodePhase.RECOVERED
    assert (node.inputs, node.outputs, node.deck_uri) == (ELSEWHERE.inputs, ELSEWHERE.outputs, "old/deck")
    assert node.task == ADD
    assert turn.commands == [m.ReadBlob("old/outputs")]


@pytest.mark.parametrize(
    "old",
    [
        replace(ELSEWHERE, phase=NodePhase.FAILED),
        replace(ELSEWHERE, phase=NodePhase.SKIPPED),
        replace(ELSEWHERE, phase=NodePhase.ABORTED),
        replace(ELSEWHERE, kind=NodeKind.GATE),
        replace(ELSEWHERE, task=ADD._replace(name="other")),
    ],
    ids=["failed", "skipped", "aborted", "another kind", "another task"],
)
def test_what_has_not_succeeded_or_is_another_node_now_runs(old: NodeState) -> None:
    it = recovering(old)
    it.begin()
    assert it.nodes["n0"].phase is NodePhase.QUEUED


def test_start_and_end_nodes_are_never_recovered() -> None:
    it = recovering(replace(ELSEWHERE, id="start-node", spec_id="start-node", kind=NodeKind.START))
    it.run()
    assert it.nodes["start-node"].phase is NodePhase.SUCCEEDED
    assert it.state.phase is ExecutionPhase.SUCCEEDED
