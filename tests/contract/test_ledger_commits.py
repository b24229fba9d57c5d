"""What a commit stores and what it leaves alone, on every ledger."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
from flyteidl.core import execution_pb2

from libs.store.ledger import Ledger
from libs.workflow.errors import Fenced, Refused
from libs.workflow.identity import EntityId
from libs.workflow.phases import (
    AttemptPhase,
    CacheStatus,
    Desired,
    ExecutionPhase,
    NodeKind,
    NodePhase,
    ReservationStatus,
)
from libs.workflow.state import (
    AbortBelow,
    AttemptState,
    Changes,
    Data,
    ExecutionState,
    NodeState,
    RecordedEvent,
    Snapshot,
)
from tests.support import stored
from tests.support.ledgers import Bench

NOT_UNICODE = "a lone surrogate: \udcff"


async def led(bench: Bench, *states: ExecutionState) -> int:
    await bench.submit(*states)
    return bench.ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)


async def begun(bench: Bench, state: ExecutionState) -> int:
    """Of an execution that nobody has begun, its own row alone is read."""
    epoch = await led(bench, state)
    bench.ledger.commit(0, epoch, [stored.running(state)])
    return epoch


def only(found: Sequence[Snapshot]) -> Snapshot:
    assert len(found) == 1
    return found[0]


def one(bench: Bench, key: int = 1) -> Snapshot:
    return only(bench.ledger.load(0, [key]))


async def test_a_commit_stores_every_field_of_every_row(bench: Bench) -> None:
    state = stored.execution()
    epoch = await led(bench, state)
    turn = stored.running(
        state, next_wake_at_us=8, ended_at_us=9, updated_at_us=10, outputs=Data.at("s3://b/o", 5), error=b"\x00\xff"
    )
    node = NodeState(
        id="n1-0-n0",
        spec_id="n0",
        parent_id="n1",
        kind=NodeKind.SUBWORKFLOW,
        phase=NodePhase.RUNNING,
        attempt=3,
        user_failures=1,
        system_failures=2,
        wake_at_us=11,
        created_at_us=12,
        queued_at_us=13,
        started_at_us=14,
        ended_at_us=15,
        updated_at_us=16,
        task=EntityId("p", "d", "täsk", "v"),
        inputs=Data.of(b""),
        outputs=Data.at("/tmp/outputs.pb", 1 << 40),
        error=b"\x00",
        deck_uri="/tmp/deck.html",
        choice=0,
        child_key=1 << 62,
        futures_uri="/tmp/futures.pb",
        closure_uri="/tmp/dynamic_compiled.pb",
        items=100_000,
        cache_status=CacheStatus.POPULATED,
        cache_key=bytes(range(32)),
        reservation=ReservationStatus.RELEASED,
    )
    attempt = AttemptState(
        node_id="n1-0-n0",
        attempt=3,
        phase=AttemptPhase.RUNNING,
        created_at_us=1,
        executor="here",
        incarnation="first",
        placed_at_us=2,
        started_at_us=3,
        ended_at_us=4,
        updated_at_us=5,
        seq=1 << 33,
        error=b"\xfe",
        reason="wärum 🐝",
        log_uri="/tmp/log",
        checkpoint_uri="/tmp/checkpoint",
    )
    turn.nodes[node.id] = node
    turn.attempts[attempt.node_id, attempt.attempt] = attempt
    turn.events.append(RecordedEvent(20, "NodeStarted", "n1-0-n0", 3, "zwölf"))
    bench.ledger.commit(0, epoch, [turn])
    assert one(bench) == Snapshot(state, [node], [attempt])
    assert await bench.events(1) == [RecordedEvent(20, "NodeStarted", "n1-0-n0", 3, "zwölf")]


async def test_absent_values_stay_absent(bench: Bench) -> None:
    state = stored.execution()
    epoch = await begun(bench, state)
    bare = NodeState(id="n0", spec_id="n0", parent_id="", kind=NodeKind.START, phase=NodePhase.QUEUED)
    waiting = AttemptState("n0", 0, AttemptPhase.WAITING_FOR_RESOURCES, created_at_us=1)
    bench.ledger.commit(0, epoch, [Changes(state, nodes={"n0": bare}, attempts={("n0", 0): waiting})])
    assert one(bench) == Snapshot(state, [bare], [waiting])


async def test_a_later_commit_replaces_the_rows_and_appends_to_the_story(bench: Bench) -> None:
    state = stored.execution()
    epoch = await begun(bench, state)
    for attempt, message in enumerate(("first", "second")):
        turn = stored.with_nodes(state, stored.node(attempt=attempt))
        turn.events.append(RecordedEvent(attempt, "NodeRetried", "n0", attempt, message))
        bench.ledger.commit(0, epoch, [turn])
    assert one(bench).nodes[0].attempt == 1
    assert [event.message for event in await bench.events(1)] == ["first", "second"]


async def test_what_a_later_commit_leaves_out_is_empty_again(bench: Bench) -> None:
    state = stored.execution()
    epoch = await begun(bench, state)
    data = Data.of(b"x")
    full = stored.node("n0", wake_at_us=1, started_at_us=2, inputs=data, outputs=data, error=b"e", choice=1, items=2)
    placed = stored.attempt()
    turn = Changes(state, nodes={"n0": full}, attempts={("n0", 0): placed})
    turn.execution.next_wake_at_us, turn.execution_changed = 1, True
    bench.ledger.commit(0, epoch, [turn])
    bare, waiting = stored.node("n0", inputs=Data.at("/i", 3)), AttemptState("n0", 0, AttemptPhase.RUNNING, 1_000)
    turn = Changes(state, nodes={"n0": bare}, attempts={("n0", 0): waiting})
    turn.execution.next_wake_at_us, turn.execution_changed = None, True
    bench.ledger.commit(0, epoch, [turn])
    assert one(bench) == Snapshot(state, [bare], [waiting])


async def test_one_commit_holds_the_turns_of_many_executions(bench: Bench) -> None:
    states = [stored.execution(key) for key in range(1, 301)]
    epoch = await led(bench, *states)
    turns = [stored.running(state) for state in states]
    for turn in turns:
        turn.nodes.update({f"n{number}": stored.node(f"n{number}") for number in range(3)})
    bench.ledger.commit(0, epoch, turns)
    found = bench.ledger.load(0, range(1, 301))
    assert [each.execution.key for each in found] == list(range(1, 301))
    assert {each.execution.phase for each in found} == {ExecutionPhase.RUNNING}
    assert {len(each.nodes) for each in found} == {3}


async def test_two_turns_of_one_execution_in_one_commit_leave_the_last(bench: Bench) -> None:
    state = stored.execution()
    epoch = await begun(bench, state)
    bench.ledger.commit(
        0,
        epoch,
        [
            stored.with_nodes(state, stored.node(attempt=0)),
            stored.with_nodes(state, stored.node(attempt=1)),
        ],
    )
    assert one(bench).nodes[0].attempt == 1


async def test_an_empty_commit_still_tells_who_leads(bench: Bench) -> None:
    epoch = await led(bench)
    bench.ledger.commit(0, epoch, [])
    with pytest.raises(Fenced):
        bench.ledger.commit(0, epoch + 1, [])
    with pytest.raises(Fenced):
        bench.ledger.commit(1, epoch, [])


async def test_a_commit_of_an_old_epoch_changes_nothing(bench: Bench) -> None:
    state = stored.execution()
    old = await led(bench, state)
    bench.ledger.claim(0, "etcd-1", 11, "b", "b:1", 78)
    before = copy.deepcopy(one(bench))
    turn = stored.running(state)
    turn.nodes["n0"], turn.attempts["n0", 0] = stored.node(), stored.attempt()
    turn.events.append(RecordedEvent(1, "NodeStarted"))
    with pytest.raises(Fenced):
        bench.ledger.commit(0, old, [turn])
    assert one(bench) == before
    assert await bench.events(1) == []


async def test_the_leader_of_one_shard_cannot_change_an_execution_of_another(bench: Bench) -> None:
    state = stored.execution(shard=1)
    epoch = await led(bench, state)
    bench.ledger.commit(0, epoch, [stored.running(copy.deepcopy(state))])
    assert only(bench.ledger.load(1, [1])).execution.phase is ExecutionPhase.QUEUED


async def test_a_commit_does_not_touch_what_admin_wants(bench: Bench) -> None:
    state = stored.execution()
    epoch = await led(bench, state)
    await bench.request_abort(state, "enough")
    bench.ledger.commit(0, epoch, [stored.running(state)])
    intent = one(bench).execution.intent
    assert (intent.generation, intent.desired, intent.abort_cause) == (2, Desired.ABORT, "enough")


@pytest.mark.parametrize("phase", [phase for phase in ExecutionPhase if phase.terminal])
async def test_a_final_execution_is_never_left(bench: Bench, phase: ExecutionPhase) -> None:
    state = stored.execution()
    epoch = await led(bench, state)
    bench.ledger.commit(0, epoch, [stored.ended(state, phase)])
    bench.ledger.commit(0, epoch, [stored.running(copy.deepcopy(state))])
    assert one(bench).execution == state


@pytest.mark.parametrize("phase", [phase for phase in NodePhase if phase.terminal])
async def test_a_final_node_is_never_left(bench: Bench, phase: NodePhase) -> None:
    state = stored.execution()
    epoch = await begun(bench, state)
    bench.ledger.commit(0, epoch, [stored.with_nodes(state, stored.node("n0", phase), stored.node("n1"))])
    bench.ledger.commit(0, epoch, [stored.with_nodes(state, stored.node("n0"), stored.node("n1", attempt=1))])
    assert [(each.id, each.phase, each.attempt) for each in one(bench).nodes] == [
        ("n0", phase, 0),
        ("n1", NodePhase.RUNNING, 1),
    ]


async def test_among_many_rows_of_a_commit_those_that_were_final_are_counted_and_stay(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """So many that they are several statements, one of them not full."""
    state = stored.execution()
    epoch = await begun(bench, state)
    ids = [f"n{number:03}" for number in range(101)]
    final = {ids[0], ids[50], ids[100]}
    phases = {id: NodePhase.SUCCEEDED if id in final else NodePhase.RUNNING for id in ids}
    bench.ledger.commit(0, epoch, [stored.with_nodes(state, *(stored.node(id, phases[id]) for id in ids))])
    assert not caplog.records
    bench.ledger.commit(0, epoch, [stored.with_nodes(state, *(stored.node(id, attempt=1) for id in ids))])
    if isinstance(bench.ledger, Ledger):
        assert "3 rows of a commit were final" in caplog.text
    assert {each.id for each in one(bench).nodes if each.attempt == 0} == final


@pytest.mark.parametrize("phase", [phase for phase in AttemptPhase if phase.terminal])
async def test_a_final_attempt_is_never_left_and_is_not_loaded(bench: Bench, phase: AttemptPhase) -> None:
    state = stored.execution()
    epoch = await begun(bench, state)
    turn = Changes(state, nodes={"n0": stored.node()}, attempts={("n0", 0): stored.attempt(phase=phase)})
    bench.ledger.commit(0, epoch, [turn])
    bench.ledger.commit(0, epoch, [Changes(state, attempts={("n0", 0): stored.attempt()})])
    assert [each.phase for each in await bench.attempts(1)] == [phase]
    assert one(bench).attempts == []


@pytest.mark.parametrize("unstorable", [NOT_UNICODE, "a NUL: \0"])
async def test_a_commit_with_an_abort_refuses_what_cannot_be_stored(database_url: str, unstorable: str) -> None:
    await stored.submit(database_url, stored.record(1))
    ledger = Ledger(database_url)
    epoch = ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    state = stored.execution(1)
    turn = stored.running(state)
    turn.aborts.append(AbortBelow("", ""))
    turn.nodes["n0"] = stored.node(deck_uri=unstorable)
    if "\0" in unstorable and database_url.startswith("sqlite"):
        ledger.commit(0, epoch, [turn])  # SQLite takes it
    else:
        with pytest.raises(Refused):
            ledger.commit(0, epoch, [turn])
        assert ledger.load(0, [1])[0].nodes == []
    ledger.close()


async def test_a_refused_row_leaves_the_others_untouched_and_storable_alone(bench: Bench) -> None:
    good, bad = stored.execution(1), stored.execution(2)
    epoch = await led(bench, good, bad)
    turns = [stored.running(good), stored.running(bad)]
    turns[1].events.append(RecordedEvent(1, "NodeStarted", message=NOT_UNICODE))
    with pytest.raises(Refused):
        bench.ledger.commit(0, epoch, turns)
    assert {each.execution.phase for each in bench.ledger.load(0, [1, 2])} == {ExecutionPhase.QUEUED}
    bench.ledger.commit(0, epoch, turns[:1])
    with pytest.raises(Refused):
        bench.ledger.commit(0, epoch, turns[1:])
    assert [each.execution.phase for each in bench.ledger.load(0, [1, 2])] == [
        ExecutionPhase.RUNNING,
        ExecutionPhase.QUEUED,
    ]


async def test_a_quarantined_execution_fails_by_the_system_and_everything_in_it_is_aborted(bench: Bench) -> None:
    state = stored.execution()
    epoch = await led(bench, state)
    turn = stored.running(state, next_wake_at_us=5)
    turn.nodes.update(n0=stored.node("n0", NodePhase.SUCCEEDED), n1=stored.node("n1"))
    turn.attempts["n1", 0] = stored.attempt("n1")
    bench.ledger.commit(0, epoch, [turn])
    bench.ledger.quarantine(0, epoch, 1, f"the database refuses {NOT_UNICODE}", 99)
    found = one(bench)
    assert (found.execution.phase, found.execution.ended_at_us) == (ExecutionPhase.FAILED, 99)
    assert (found.execution.next_wake_at_us, found.execution.observed_generation) == (None, 1)
    error = execution_pb2.ExecutionError.FromString(found.execution.error or b"")
    assert (error.code, error.kind) == ("Quarantined", execution_pb2.ExecutionError.SYSTEM)
    assert "the database refuses" in error.message
    assert [(each.phase, each.ended_at_us) for each in found.nodes] == [
        (NodePhase.SUCCEEDED, None),
        (NodePhase.ABORTED, 99),
    ]
    assert [(each.phase, each.ended_at_us) for each in await bench.attempts(1)] == [(AttemptPhase.ABORTED, 99)]
    assert [event.kind for event in await bench.events(1)] == ["ExecutionQuarantined"]


async def test_a_final_execution_is_not_quarantined(bench: Bench) -> None:
    state = stored.execution()
    epoch = await led(bench, state)
    bench.ledger.commit(0, epoch, [stored.ended(state)])
    bench.ledger.quarantine(0, epoch, 1, "late", 99)
    assert one(bench).execution == state
    assert await bench.events(1) == []


async def test_quarantine_of_an_old_epoch_changes_nothing(bench: Bench) -> None:
    state = stored.execution()
    epoch = await led(bench, state)
    with pytest.raises(Fenced):
        bench.ledger.quarantine(0, epoch - 1, 1, "late", 99)
    assert one(bench).execution == state
