"""What the leader finds again, on every ledger."""

from __future__ import annotations

import pytest

from libs.workflow.errors import NotFound
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import Data, Intent
from tests.support import stored
from tests.support.ledgers import Bench


def lead(bench: Bench, shard: int = 0) -> int:
    return bench.ledger.claim(shard, "etcd-1", 10, "a", "a:1", 77)


async def test_a_submitted_execution_is_loaded_as_it_was_submitted(bench: Bench) -> None:
    state = stored.execution(7, inputs=Data.at("s3://bucket/inputs", 123), spec=b"\x00\x01", root_key=3)
    await bench.submit(state)
    (found,) = bench.ledger.load(0, [7])
    assert found.execution == state
    assert (found.nodes, found.attempts) == ([], [])


async def test_unknown_keys_and_keys_of_other_shards_are_left_out(bench: Bench) -> None:
    await bench.submit(stored.execution(1), stored.execution(2, shard=1))
    assert [each.execution.key for each in bench.ledger.load(0, [1, 2, 3])] == [1]
    assert bench.ledger.load(0, []) == []


async def test_intents_tell_what_is_wanted(bench: Bench) -> None:
    first, second = stored.execution(1), stored.execution(2)
    await bench.submit(first, second)
    await bench.request_abort(second, "enough")
    assert bench.ledger.intents([1, 2, 3]) == {
        1: Intent(1, Desired.RUN),
        2: Intent(2, Desired.ABORT, "enough"),
    }
    assert bench.ledger.intents([]) == {}


async def test_due_are_the_new_the_changed_and_the_timed_out(bench: Bench) -> None:
    states = {key: stored.execution(key) for key in range(1, 7)}
    await bench.submit(*states.values())
    epoch = lead(bench)
    bench.ledger.commit(
        0,
        epoch,
        [
            stored.running(states[2]),  # nothing to do
            stored.running(states[3], next_wake_at_us=100),  # timer has run out
            stored.running(states[4], next_wake_at_us=101),  # timer still runs
            stored.running(states[5]),  # will be aborted
            stored.ended(states[6]),
        ],
    )
    await bench.request_abort(states[5], "enough")
    assert bench.ledger.due(0, 100, 10) == [1, 5, 3]
    assert bench.ledger.due(0, 100, 2) == [1, 5]
    assert bench.ledger.due(1, 100, 10) == []


async def test_an_abort_that_lost_the_race_with_the_end_is_not_due(bench: Bench) -> None:
    state = stored.execution()
    await bench.submit(state)
    epoch = lead(bench)
    await bench.request_abort(state, "too late")
    bench.ledger.commit(0, epoch, [stored.ended(state)])
    assert bench.ledger.due(0, 100, 10) == []


async def test_live_pages_through_what_is_not_final(bench: Bench) -> None:
    states = [stored.execution(key) for key in range(1, 6)]
    await bench.submit(*states, stored.execution(9, shard=1))
    epoch = lead(bench)
    bench.ledger.commit(0, epoch, [stored.ended(states[1], ExecutionPhase.FAILED)])
    assert bench.ledger.live(0, 0, 2) == [1, 3]
    assert bench.ledger.live(0, 3, 10) == [4, 5]
    assert bench.ledger.live(0, 5, 10) == []


async def test_a_program_is_the_closure_of_a_registered_workflow(bench: Bench) -> None:
    await bench.register(stored.WORKFLOW, b"compiled")
    assert bench.ledger.program(stored.WORKFLOW) == b"compiled"
    with pytest.raises(NotFound, match="v2"):
        bench.ledger.program(stored.WORKFLOW._replace(version="v2"))


async def test_the_present_schema_is_accepted(bench: Bench) -> None:
    bench.ledger.check_schema()
