"""Slots are held exactly, lines are fair, and nothing is given twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from services.propeller.placement import Placement

CORE = Slots(cpu_millis=1000)
GPU = Slots(cpu_millis=1000, gpus=1)


def attempt(number: int, execution: int = 1) -> AttemptId:
    return AttemptId(execution, f"n{number}", 0)


def with_cores(cores: int, executor: str = "e1") -> Placement:
    placement = Placement()
    placement.open(executor, "life", Slots(cpu_millis=1000 * cores))
    return placement


def test_a_free_slot_is_given_at_once_and_the_next_attempt_waits() -> None:
    placement = with_cores(1)
    assert placement.seek(attempt(1), CORE) is not None
    assert placement.seek(attempt(2), CORE) is None
    assert placement.pending == 1


def test_a_slot_that_becomes_free_goes_to_whoever_waited_longest() -> None:
    placement = with_cores(1)
    for number in (1, 2, 3):
        placement.seek(attempt(number), CORE)
    placement.release(attempt(1))
    assert [found for found, _ in placement.fill()] == [attempt(2)]


def test_nobody_overtakes_a_line_of_the_same_kind() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE)
    placement.seek(attempt(2), CORE)
    placement.release(attempt(1))
    assert placement.seek(attempt(3), CORE) is None


def test_a_request_that_fits_nowhere_delays_only_its_like() -> None:
    placement = with_cores(1)
    assert placement.seek(attempt(1), GPU) is None
    assert placement.seek(attempt(2), CORE) is not None


def test_work_goes_to_the_executor_with_most_room() -> None:
    placement = with_cores(1, "small")
    placement.open("large", "life", Slots(cpu_millis=4000))
    found = placement.seek(attempt(1), CORE)
    assert found is not None
    assert found.executor == "large"


def test_an_executor_that_drains_gets_nothing_new_and_keeps_what_it_has() -> None:
    placement = with_cores(2)
    placement.seek(attempt(1), CORE)
    placement.set_open("e1", False)
    assert placement.seek(attempt(2), CORE) is None
    assert placement.attempts_on("e1") == [attempt(1)]


def test_an_executor_that_comes_back_has_what_it_held_taken_off_its_capacity() -> None:
    placement = Placement()
    placement.hold(attempt(1), CORE, "e1")
    placement.open("e1", "life", CORE)
    assert placement.seek(attempt(2), CORE) is None
    placement.release(attempt(1))
    assert [found for found, _ in placement.fill()] == [attempt(2)]


def test_dropping_an_execution_gives_back_what_it_holds_and_waits_for() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1, execution=7), CORE)
    placement.seek(attempt(2, execution=7), CORE)
    placement.seek(attempt(3, execution=8), CORE)
    placement.drop(7)
    assert [found for found, _ in placement.fill()] == [attempt(3, execution=8)]
    assert placement.pending == 0


def test_a_more_urgent_attempt_gets_the_next_slot_whoever_came_first() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE)
    placement.seek(attempt(2), CORE)
    placement.seek(attempt(3), CORE, priority=2)
    placement.seek(attempt(4), CORE, priority=1)
    got = []
    for number in (1, 3, 4):
        placement.release(attempt(number))
        got += [found for found, _ in placement.fill()]
    assert got == [attempt(3), attempt(4), attempt(2)]


def test_whoever_ends_an_attempt_does_not_take_its_slot_before_those_who_wait() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE)
    placement.seek(attempt(2, execution=2), CORE, priority=2)
    placement.release(attempt(1))
    assert placement.seek(attempt(3), CORE) is None
    assert [found for found, _ in placement.fill()] == [attempt(2, execution=2)]


def test_lines_of_equal_urgency_take_turns_by_arrival() -> None:
    placement = with_cores(4)
    placement.set_open("e1", False)
    half = Slots(cpu_millis=500)
    for number, slots in enumerate((CORE, half, CORE, half)):
        placement.seek(attempt(number), slots)
    placement.set_open("e1", True)
    assert [found for found, _ in placement.fill()] == [attempt(number) for number in range(4)]


def test_only_what_may_be_interrupted_goes_where_it_can_be() -> None:
    placement = Placement()
    placement.open("spot", "life", Slots(cpu_millis=2000), interruptible=True)
    assert placement.seek(attempt(1), CORE) is None
    found = placement.seek(attempt(2), CORE, interruptible=True)
    assert found is not None
    assert found.executor == "spot"


def test_what_may_be_interrupted_leaves_the_other_executors_to_the_others_while_it_can() -> None:
    placement = with_cores(8, "lasting")
    placement.open("spot", "life", CORE, interruptible=True)
    places = [placement.seek(attempt(number), CORE, interruptible=True) for number in range(2)]
    assert [place and place.executor for place in places] == ["spot", "lasting"]


def test_attempts_that_want_nothing_fit_into_what_is_full_and_are_spread() -> None:
    placement = with_cores(1, "e1")
    placement.open("e2", "life", CORE)
    for number in (1, 2):
        placement.seek(attempt(number), CORE)
    places = [placement.seek(attempt(number), Slots()) for number in (3, 4, 5, 6)]
    assert sorted(place.executor for place in places if place) == ["e1", "e1", "e2", "e2"]


@given(
    st.lists(st.tuples(st.sampled_from(["seek", "release", "fill", "drop", "reopen"]), st.integers(0, 9)), max_size=60)
)
def test_capacity_is_never_exceeded_and_counts_always_agree(moves: list[tuple[str, int]]) -> None:
    placement = with_cores(3)
    for move, number in moves:
        if move == "seek":
            placement.seek(attempt(number, execution=number % 3), CORE)
        elif move == "release":
            placement.release(attempt(number, execution=number % 3))
        elif move == "drop":
            placement.drop(number % 3)
        elif move == "reopen":
            placement.open("e1", f"life-{number}", Slots(cpu_millis=3000))
        else:
            placement.fill()
        room = placement.rooms()[0]
        assert room.used.cpu_millis == 1000 * len(placement.attempts_on("e1"))
        assert room.used.cpu_millis <= room.capacity.cpu_millis
