"""What the leader finds again, on every ledger."""

from __future__ import annotations

import pytest

from libs.store import at_once
from libs.workflow.errors import Fenced, NotFound, Refused
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase, NodePhase
from libs.workflow.state import AbortBelow, Changes, Data, Intent, SignalState
from tests.support import stored
from tests.support.ledgers import Bench, SqlBench


def lead(bench: Bench, shard: int = 0) -> int:
    return bench.ledger.claim(shard, "etcd-1", 10, "a", "a:1", 77)


async def test_a_submitted_execution_is_loaded_as_it_was_submitted(bench: Bench) -> None:
    state = stored.execution(
        7,
        inputs=Data.at("s3://bucket/inputs", 123),
        spec=b"\x00\x01",
        root_key=3,
        principal="bert",
        parent_key=3,
        parent_node_id="n1",
    )
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
    assert bench.ledger.due(0, 100, 10, new=False) == [5, 3]
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
    bench.ledger.commit(0, epoch, [stored.ended(states[1], ExecutionPhase.FAILED), stored.running(states[3])])
    assert bench.ledger.live(0, 0, 10, new=False) == [4]
    assert bench.ledger.live(0, 0, 2) == [1, 3]
    assert bench.ledger.live(0, 3, 10) == [4, 5]
    assert bench.ledger.live(0, 5, 10) == []


async def test_levels_count_what_is_not_final_by_project_domain_and_phase(bench: Bench) -> None:
    states = [stored.execution(key) for key in range(1, 6)]
    elsewhere = stored.execution(6, id=ExecutionId("other", "production", "e6"))
    assert bench.ledger.levels(0) == {}
    await bench.submit(*states, elsewhere, stored.execution(9, shard=1))
    epoch = lead(bench)
    queued = ("flytesnacks", "development", ExecutionPhase.QUEUED)
    running = ("flytesnacks", "development", ExecutionPhase.RUNNING)
    other = ("other", "production", ExecutionPhase.QUEUED)
    assert bench.ledger.levels(0) == {queued: 5, other: 1}
    bench.ledger.commit(0, epoch, [stored.running(states[0]), stored.running(states[1]), stored.ended(elsewhere)])
    assert bench.ledger.levels(0) == {queued: 3, running: 2}
    bench.ledger.commit(0, epoch, [stored.ended(state) for state in states])
    assert bench.ledger.levels(0) == {}
    assert bench.ledger.levels(1) == {queued: 1}


async def test_an_execution_that_recovers_another_is_loaded_with_all_nodes_of_that_one(bench: Bench) -> None:
    original, plain = stored.execution(1, shard=1), stored.execution(4)
    await bench.submit(original, stored.execution(2, recovers_key=1), stored.execution(3, recovers_key=1), plain)
    epoch = lead(bench, shard=1)
    nodes = [stored.node("n0", NodePhase.SUCCEEDED, created_at_us=1), stored.node("n1", NodePhase.FAILED)]
    bench.ledger.commit(1, epoch, [stored.with_nodes(original, *nodes)])
    found = bench.ledger.load(0, [2, 3, 4])
    assert [each.execution.recovers_key for each in found] == [1, 1, None]
    assert [each.recoverable for each in found] == [nodes, nodes, []]
    assert [each.nodes for each in found] == [[], [], []]


async def test_an_execution_may_be_loaded_beside_the_one_that_it_recovers(bench: Bench) -> None:
    original = stored.execution(1)
    await bench.submit(original, stored.execution(2, recovers_key=1))
    bench.ledger.commit(0, lead(bench), [stored.with_nodes(original, stored.node("n0"))])
    found = bench.ledger.load(0, [1, 2])
    assert [len(each.nodes) for each in found] == [1, 0]
    assert [len(each.recoverable) for each in found] == [0, 1]


async def test_a_signal_is_wanted_once_it_is_given(bench: Bench) -> None:
    state, other = stored.execution(1), stored.execution(2)
    await bench.submit(state, other)
    signals = [SignalState(id, "n0", b"type", 7) for id in ("yes", "name", "never")]
    turns = [stored.waiting(stored.running(state), *signals), stored.running(other)]
    bench.ledger.commit(0, lead(bench), turns)
    assert await bench.signals(1) == sorted(signals, key=lambda each: each.id)
    assert bench.ledger.intents([1])[1].signals == ()
    assert bench.ledger.due(0, 100, 10) == []
    await bench.set_signal(state, "yes", b"\x00literal")
    await bench.set_signal(state, "name", b"")
    assert bench.ledger.due(0, 100, 10) == [1]
    wanted = Intent(3, Desired.RUN, signals=(("name", b""), ("yes", b"\x00literal")))
    assert bench.ledger.intents([1, 2]) == {1: wanted, 2: Intent(1, Desired.RUN)}
    assert [each.execution.intent for each in bench.ledger.load(0, [1])] == [wanted]


async def test_an_abort_leaves_the_signals_that_were_given(bench: Bench) -> None:
    state = stored.execution(1)
    await bench.submit(state)
    turn = stored.waiting(stored.running(state), SignalState("yes", "n0", b"type", 7))
    bench.ledger.commit(0, lead(bench), [turn])
    await bench.set_signal(state, "yes", b"literal")
    await bench.request_abort(state, "enough")
    assert bench.ledger.intents([1])[1] == Intent(3, Desired.ABORT, "enough", "", (("yes", b"literal"),))


async def test_a_signal_that_is_waited_for_again_keeps_its_value(bench: Bench) -> None:
    state = stored.execution(1)
    await bench.submit(state)
    epoch = lead(bench)
    bench.ledger.commit(0, epoch, [stored.waiting(Changes(state), SignalState("yes", "n0", b"type", 7))])
    await bench.set_signal(state, "yes", b"literal")
    bench.ledger.commit(0, epoch, [stored.waiting(Changes(state), SignalState("yes", "n9", b"other", 8))])
    assert await bench.signals(1) == [SignalState("yes", "n0", b"type", 7)]
    assert bench.ledger.intents([1])[1].signals == (("yes", b"literal"),)


async def test_a_fenced_commit_waits_for_no_signal(bench: Bench) -> None:
    state = stored.execution(1)
    await bench.submit(state)
    epoch = lead(bench)
    for aborts in ([], [AbortBelow("", "")]):
        turn = Changes(state, signals=[SignalState("yes", "n0", b"type", 7)], aborts=aborts)
        with pytest.raises(Fenced):
            bench.ledger.commit(0, epoch - 1, [turn])
    assert await bench.signals(1) == []


async def test_launch_plans_are_found_by_their_ids(bench: Bench) -> None:
    plans = [stored.launch_plan("a"), stored.launch_plan("b", "v2")]
    for plan in plans:
        await bench.register_launch_plan(plan)
    ids = [plans[1].id, plans[0].id, plans[1].id, plans[1].id._replace(version="v3")]
    assert bench.ledger.launch_plans(ids) == {plan.id: plan for plan in plans}
    assert bench.ledger.launch_plans([]) == {}


async def test_tasks_are_found_by_their_ids(bench: Bench) -> None:
    tasks = {stored.TASK: b"one", stored.TASK._replace(version="v2"): b"two"}
    for task, closure in tasks.items():
        await bench.register_task(task, closure)
    assert bench.ledger.tasks([*tasks, *tasks, stored.TASK._replace(version="v3")]) == tasks
    assert bench.ledger.tasks([]) == {}


async def test_a_program_is_the_closure_of_a_registered_workflow(bench: Bench) -> None:
    await bench.register(stored.WORKFLOW, b"compiled")
    assert bench.ledger.program(stored.WORKFLOW) == b"compiled"
    with pytest.raises(NotFound, match="v2"):
        bench.ledger.program(stored.WORKFLOW._replace(version="v2"))


async def test_the_present_schema_is_accepted(bench: Bench) -> None:
    bench.ledger.check_schema()


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: SQLite goes another way once it was slow."""
    monkeypatch.setattr(at_once, "SLOW_SECONDS", 60.0)


@pytest.mark.usefixtures("quick_disk")
async def test_on_the_loop_what_is_new_is_loaded_as_on_a_thread_or_not_at_all(database_url: str) -> None:
    bench = SqlBench(database_url)
    new, begun, recovering, elsewhere, other = (
        stored.execution(1, inputs=Data.of(b"x")),
        stored.execution(2),
        stored.execution(3, recovers_key=1),
        stored.execution(4, shard=1),
        stored.execution(6),
    )
    await bench.submit(new, begun, recovering, elsewhere, other)
    epoch = await lead_on_the_loop(bench)
    assert await bench.ledger.commit_on_loop(0, epoch, [stored.running(begun)])
    assert await bench.ledger.load_on_loop(0, [6, 1]) == bench.ledger.load(0, [1, 6]) != []
    for key in (2, 3, 4, 5):
        assert await bench.ledger.load_on_loop(0, [1, key]) is None
    assert await bench.ledger.load_on_loop(0, [1]) == bench.ledger.load(0, [1])
    bench.ledger.leave_loop()
    await bench.close()


@pytest.mark.usefixtures("quick_disk")
async def test_on_the_loop_commits_are_fenced_and_refused_as_on_a_thread(database_url: str) -> None:
    bench = SqlBench(database_url)
    state = stored.execution(1)
    await bench.submit(state)
    epoch = await lead_on_the_loop(bench)
    with pytest.raises(Fenced):
        await bench.ledger.commit_on_loop(0, epoch - 1, [stored.running(state)])
    with pytest.raises(Refused):
        await bench.ledger.commit_on_loop(0, epoch, [stored.running(state, updated_at_us=2**70)])
    assert await bench.ledger.load_on_loop(0, [1]) is not None
    assert await bench.ledger.commit_on_loop(0, epoch, [stored.running(state, updated_at_us=5)])
    bench.ledger.leave_loop()
    await bench.close()


async def lead_on_the_loop(bench: SqlBench) -> int:
    """An epoch whose commits need no thread."""
    await bench.ledger.load_on_loop(0, [1])  # so that SQLite knows that somebody asks …
    epoch = lead(bench)
    bench.ledger.commit(0, epoch, [])  # … and opens what it needs for an answer
    return epoch


async def test_on_the_loop_many_are_not_looked_for_in_vain_again_and_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = SqlBench(postgres_url)
    states = [stored.execution(key) for key in range(1, 8)]
    await bench.submit(*states)
    epoch = await lead_on_the_loop(bench)
    new, mixed = [1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7]
    bench.ledger.commit(0, epoch, [stored.running(states[6])])
    assert await bench.ledger.load_on_loop(0, new) == bench.ledger.load(0, new)
    assert await bench.ledger.load_on_loop(0, mixed) is None
    assert await bench.ledger.load_on_loop(0, new) is None
    assert await bench.ledger.load_on_loop(0, new[:2]) is not None
    monkeypatch.setattr(bench.ledger, "_not_new_until", 0.0)
    assert await bench.ledger.load_on_loop(0, new) is not None
    bench.ledger.leave_loop()
    await bench.close()
