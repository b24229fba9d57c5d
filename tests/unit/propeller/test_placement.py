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
