"""What is told of attempts that wait, and how long one pauses that nobody has room for."""

from __future__ import annotations

from libs.workflow import graph, waits
from libs.workflow.machine import messages as m
from libs.workflow.phases import AttemptPhase
from libs.workflow.quantities import Slots
from tests.support.graphs import Plan, Step, closure_of, state_of
from tests.support.machine import World, world

REASON = waits.reason(waits.Wait.NO_EXECUTOR, "no executor is connected")


def waiting() -> World:
    plan = Plan((Step("n0"),))
    it = world(state_of(plan), graph.build(closure_of(plan)))
    it.begin()
    return it


def test_why_an_attempt_waits_is_kept_once_and_changes_nothing_else() -> None:
    it = waiting()
    turn = it.turn(m.Waiting("n0", 0, REASON))
    assert it.attempts["n0", 0].phase is AttemptPhase.WAITING_FOR_RESOURCES
    assert it.attempts["n0", 0].reason == REASON
    assert [(event.kind, event.message) for event in turn.changes.events] == [("AttemptWaits", REASON)]
    assert not turn.changes.nodes
    assert not turn.commands
    assert not it.turn(m.Waiting("n0", 0, REASON)).changes


def test_an_attempt_that_has_got_a_slot_waits_for_nothing() -> None:
    it = waiting()
    it.turn(m.Waiting("n0", 0, REASON))
    it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    assert it.attempts["n0", 0].reason == ""
    assert not it.turn(m.Waiting("n0", 0, REASON)).changes


def test_who_prepares_an_attempt_may_say_what_it_waits_for_until_it_runs() -> None:
    it = waiting()
    it.turn(m.Placed("n0", 0, "e1", "life", "log"))
    it.turn(m.Accepted("n0", 0, "e1", 1, 5))
    turn = it.turn(m.Accepted("n0", 0, "e1", 2, 6, "Unschedulable: 0/3 nodes are available"))
    assert it.attempts["n0", 0].reason == "Unschedulable: 0/3 nodes are available"
    assert [event.kind for event in turn.changes.events] == ["AttemptWaits"]
    it.turn(m.Started("n0", 0, "e1", 3, 7))
    assert it.attempts["n0", 0].reason == ""


def test_a_reason_for_an_attempt_of_the_past_is_not_listened_to() -> None:
    assert not waiting().turn(m.Waiting("n0", 7, REASON)).changes


def test_the_pause_after_rejections_grows_to_five_seconds_and_begins_anew_after_an_acceptance() -> None:
    it = waiting()
    pauses = [_reject(it, number) for number in range(7)]
    assert pauses == [200_000, 400_000, 800_000, 1_600_000, 3_200_000, 5_000_000, 5_000_000]
    _wake(it)
    it.turn(m.Placed("n0", 7, "e1", "life", "log"))
    it.turn(m.Accepted("n0", 7, "e1", 1, 5))
    it.turn(m.Rejected("n0", 7, "e1", 2, "no room after all"))
    assert (it.nodes["n0"].wake_at_us or 0) - it.store.now_us == 200_000


def _reject(it: World, number: int) -> int:
    _wake(it)
    it.turn(m.Placed("n0", number, "e1", "life", "log"))
    it.turn(m.Rejected("n0", number, "e1", 1, "no room"))
    return (it.nodes["n0"].wake_at_us or 0) - it.store.now_us


def _wake(it: World) -> None:
    it.store.now_us = max(it.store.now_us, it.nodes["n0"].wake_at_us or 0)
    it.turn()


def test_reasons_are_read_as_they_are_written() -> None:
    assert waits.parse(REASON) == (waits.Wait.NO_EXECUTOR, "no executor is connected")
    assert waits.parse("the disk is full: really") == (None, "the disk is full: really")


def test_slots_are_shown_as_people_write_them() -> None:
    assert waits.shown(Slots(500, 1 << 31, 2)) == "0.5 cpu, 2Gi memory, 2 gpu"
    assert waits.shown(Slots(64_000, 200)) == "64 cpu, 200 memory"
