"""Executions that executions launch, and how an abort goes down to them, on every ledger."""

from __future__ import annotations

import pytest
from flyteidl.admin import common_pb2, execution_pb2

from libs.workflow.errors import Fenced, KeyTaken, Refused
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import AbortBelow, Changes, Data, ExecutionState, Intent
from tests.support import stored
from tests.support.ledgers import Bench

ALL_BELOW = AbortBelow("the parent failed", "anna")


async def led(bench: Bench, *states: ExecutionState) -> int:
    await bench.submit(*states)
    return bench.ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)


def intents(bench: Bench, *keys: int) -> list[tuple[int, Desired]]:
    """Generation and wish of each."""
    found = bench.ledger.intents(keys)
    return [(found[key].generation, found[key].desired) for key in keys]


ALONE = (1, Desired.RUN)
ABORTED = (2, Desired.ABORT)


async def test_a_child_is_stored_whole_and_is_due_at_once(bench: Bench) -> None:
    parent = stored.execution(1)
    epoch = await led(bench, parent)
    child = stored.child(parent, 2, principal="bert", inputs=Data.at("s3://b/in", 9), recovers_key=7)
    turn = stored.running(parent)
    turn.children.append(child)
    bench.ledger.commit(0, epoch, [turn])
    (found,) = bench.ledger.load(0, [2])
    assert found.execution == child
    assert bench.ledger.due(0, 100, 10) == [2]


async def test_a_child_is_found_by_the_labels_and_tags_of_its_spec(bench: Bench) -> None:
    parent = stored.execution(1)
    epoch = await led(bench, parent)
    spec = execution_pb2.ExecutionSpec(labels=common_pb2.Labels(values={"team": "blue"}), tags=["urgent", "urgent"])
    child = stored.child(parent, 2, spec=spec.SerializeToString())
    bench.ledger.commit(0, epoch, [Changes(parent, children=[child])])
    assert await bench.tagged("team", "blue") == [2]
    assert await bench.tagged("urgent", "") == [2]


async def test_a_child_that_is_there_already_is_left_as_it_is(bench: Bench) -> None:
    parent = stored.execution(1)
    epoch = await led(bench, parent)
    child = stored.child(parent, 2)
    bench.ledger.commit(0, epoch, [Changes(parent, children=[child])])
    bench.ledger.commit(0, epoch, [stored.running(child)])
    bench.ledger.commit(0, epoch, [Changes(parent, children=[stored.child(parent, 2)])])
    (found,) = bench.ledger.load(0, [2])
    assert found.execution.phase is ExecutionPhase.RUNNING


@pytest.mark.parametrize(("taken", "error"), [("key", KeyTaken), ("name", Refused)])
async def test_a_child_whose_key_or_name_is_taken_is_refused_with_all_of_its_commit(
    bench: Bench, taken: str, error: type[Refused]
) -> None:
    parent, other = stored.execution(1), stored.execution(2, "taken")
    epoch = await led(bench, parent, other)
    child = stored.child(parent, 2) if taken == "key" else stored.child(parent, 3, name="taken")
    turn = stored.running(parent)
    turn.children.append(child)
    with pytest.raises(Refused) as raised:
        bench.ledger.commit(0, epoch, [turn])
    assert raised.type is error
    found = bench.ledger.load(0, [1, 2, 3])
    assert [(each.execution.key, each.execution.phase) for each in found] == [
        (1, ExecutionPhase.QUEUED),
        (2, ExecutionPhase.QUEUED),
    ]
    assert found[1].execution == other


async def test_an_abort_reaches_three_levels_and_nothing_beside_them(bench: Bench) -> None:
    top, beside = stored.execution(1), stored.execution(9)
    epoch = await led(bench, top, beside)
    first, second = stored.child(top, 2), stored.child(top, 3)
    below = stored.child(first, 4)
    lowest = stored.child(below, 5)
    unrelated = stored.child(beside, 6)
    for parent, children in ((top, [first, second]), (first, [below]), (below, [lowest]), (beside, [unrelated])):
        bench.ledger.commit(0, epoch, [Changes(parent, children=children)])
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[ALL_BELOW])])
    assert intents(bench, 2, 3, 4, 5) == [ABORTED] * 4
    assert bench.ledger.intents([5])[5] == Intent(2, Desired.ABORT, "the parent failed", "anna")
    assert intents(bench, 1, 9, 6) == [ALONE] * 3


async def test_what_an_abort_reaches_is_due(bench: Bench) -> None:
    top = stored.execution(1)
    epoch = await led(bench, top)
    child = stored.child(top, 2)
    bench.ledger.commit(0, epoch, [Changes(top, children=[child])])
    bench.ledger.commit(0, epoch, [stored.running(top), stored.running(child)])
    assert bench.ledger.due(0, 100, 10) == []
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[ALL_BELOW])])
    assert bench.ledger.due(0, 100, 10) == [2]


async def test_one_child_may_be_aborted_with_all_below_it(bench: Bench) -> None:
    top = stored.execution(1)
    epoch = await led(bench, top)
    first, second = stored.child(top, 2), stored.child(top, 3)
    bench.ledger.commit(0, epoch, [Changes(top, children=[first, second])])
    bench.ledger.commit(0, epoch, [Changes(first, children=[stored.child(first, 4)])])
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[AbortBelow("too late", "", child_key=2)])])
    assert intents(bench, 2, 4) == [ABORTED] * 2
    assert intents(bench, 3) == [ALONE]


async def test_a_child_of_another_parent_is_not_aborted_by_its_key(bench: Bench) -> None:
    top, other = stored.execution(1), stored.execution(2)
    epoch = await led(bench, top, other)
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[AbortBelow("too late", "", child_key=2)])])
    assert intents(bench, 2) == [ALONE]


async def test_an_abort_reaches_the_children_of_its_own_commit_and_executions_that_it_changes(bench: Bench) -> None:
    top = stored.execution(1)
    epoch = await led(bench, top)
    old = stored.child(top, 2)
    bench.ledger.commit(0, epoch, [Changes(top, children=[old])])
    turn = stored.running(old, next_wake_at_us=50, error=b"\x00'\\", outputs=Data.at('it\'s {"quoted",\\}', 3))
    turn.children.append(stored.child(old, 4))
    deciding = stored.running(top)
    deciding.children.append(stored.child(top, 3))
    deciding.aborts.append(ALL_BELOW)
    bench.ledger.commit(0, epoch, [deciding, turn])
    assert intents(bench, 2, 3, 4) == [ABORTED] * 3
    (found,) = bench.ledger.load(0, [2])
    assert found.execution.phase is ExecutionPhase.RUNNING
    assert (found.execution.outputs, found.execution.error) == (old.outputs, old.error)


async def test_executions_of_other_shards_are_reached_too(bench: Bench) -> None:
    top = stored.execution(1)
    launched_by_a_task = stored.execution(2, parent_key=1, shard=1)
    epoch = await led(bench, top, launched_by_a_task)
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[ALL_BELOW])])
    assert intents(bench, 2) == [ABORTED]
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[ALL_BELOW])])
    assert intents(bench, 2) == [ABORTED]


async def test_an_abort_changes_nothing_of_what_has_ended_or_is_aborted_already(bench: Bench) -> None:
    top = stored.execution(1)
    epoch = await led(bench, top)
    over, aborting = stored.child(top, 2), stored.child(top, 3)
    bench.ledger.commit(0, epoch, [Changes(top, children=[over, aborting])])
    bench.ledger.commit(0, epoch, [Changes(aborting, children=[stored.child(aborting, 4)]), stored.ended(over)])
    await bench.request_abort(aborting, "mine")
    bench.ledger.commit(0, epoch, [Changes(top, aborts=[ALL_BELOW])])
    assert intents(bench, 2) == [ALONE]
    assert bench.ledger.intents([3])[3].abort_cause == "mine"
    assert intents(bench, 4) == [ABORTED]


async def test_a_quarantined_parent_leaves_no_child_running(bench: Bench) -> None:
    top = stored.execution(1)
    epoch = await led(bench, top)
    bench.ledger.commit(0, epoch, [Changes(top, children=[stored.child(top, 2)])])
    bench.ledger.quarantine(0, epoch, 1, "unstorable", 99)
    assert intents(bench, 2) == [ABORTED]
    assert "unstorable" in bench.ledger.intents([2])[2].abort_cause


async def test_a_fenced_commit_launches_and_aborts_nothing(bench: Bench) -> None:
    top = stored.execution(1)
    old = await led(bench, top)
    bench.ledger.commit(0, old, [Changes(top, children=[stored.child(top, 2)])])
    bench.ledger.claim(0, "etcd-1", 11, "b", "b:1", 78)
    for turn in (
        Changes(top, children=[stored.child(top, 3)]),
        Changes(top, children=[stored.child(top, 3)], aborts=[ALL_BELOW]),
    ):
        with pytest.raises(Fenced):
            bench.ledger.commit(0, old, [turn])
    assert bench.ledger.live(0, 0, 10) == [1, 2]
    assert intents(bench, 2) == [ALONE]


async def test_finals_tell_how_executions_have_ended(bench: Bench) -> None:
    states = [stored.execution(1), stored.execution(2), stored.execution(3)]
    epoch = await led(bench, *states, stored.execution(4, shard=1))
    states[0].outputs, states[1].error = Data.of(b"out"), b"error"
    turns = [
        stored.ended(states[0]),
        stored.ended(states[1], ExecutionPhase.FAILED),
        stored.running(states[2]),
    ]
    bench.ledger.commit(0, epoch, turns)
    assert bench.ledger.finals([1, 2, 3, 4, 5]) == {
        1: (ExecutionPhase.SUCCEEDED, Data.of(b"out"), None),
        2: (ExecutionPhase.FAILED, None, b"error"),
    }
    assert bench.ledger.finals([]) == {}
