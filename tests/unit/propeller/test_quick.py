"""Attempts that end soon follow others to their slots, and nobody loses by that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from libs.wire.session import ReportPhase
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from services.propeller.passed import PASSED_OVER_US
from services.propeller.placement import Placement
from services.propeller.quick import MOST, WAIT_US, Quick
from services.propeller.rooms import ALONE_US, Wish
from tests.support.flytetypes import INTEGER
from tests.support.templates import node, workflow
from tests.support.terms import leading, report_of
from tests.support.waiting import until

CORE = Slots(cpu_millis=1000)
NOW = 1_000_000


def attempt(number: int, execution: int = 1, task: str = "short") -> AttemptId:
    return AttemptId(execution, f"{task}{number}", 0)


def with_cores(cores: int, backlog: int = 100, short_us: int = WAIT_US // 3) -> Placement:
    """Attempts of `short` follow each other by threes; those of other tasks are not known."""
    placement = Placement(task_of=lambda attempt: attempt.node.rstrip("0123456789"))
    placement.open("e1", "life", Slots(cpu_millis=1000 * cores), backlog=backlog)
    placement.quick.note("short", short_us)
    return placement


def seek(placement: Placement, *attempts: AttemptId, slots: Slots = CORE, project: str = "p") -> list[AttemptId]:
    """Those that are placed at once."""
    return [each for each in attempts if placement.seek(each, slots, NOW, project=project) is not None]


def test_as_many_follow_as_have_ended_within_the_time_that_one_may_wait() -> None:
    quick = Quick()
    assert quick.followers("t") == 0, "of which nothing is known"
    quick.note("t", WAIT_US // 4)
    assert quick.followers("t") == 4
    quick.note("t", 100 * WAIT_US)
    assert quick.followers("t") == 0, "one that has taken long tells of others"
    for _ in range(200):
        quick.note("t", 1)
    assert quick.followers("t") == MOST
    quick.doubt("t")
    assert quick.followers("t") == 0
    quick.doubt("unknown")
    assert quick.followers("unknown") == 0


def test_quick_attempts_are_placed_beyond_what_is_free_and_others_are_not() -> None:
    placement = with_cores(2)
    placed = seek(placement, *(attempt(number) for number in range(20)))
    assert len(placed) == 2 * (1 + 3)
    assert placement.pending == 12
    assert placement.fill(NOW) == []
    placement.release(placed[0])
    assert [found for found, _ in placement.fill(NOW)] == [attempt(8)]
    slow = with_cores(2)
    assert len(seek(slow, *(attempt(number, task="slow") for number in range(20)))) == 2


def test_what_follows_is_held_by_nobody_else_and_shown_as_no_more_than_there_is() -> None:
    placement = with_cores(2)
    placed = seek(placement, *(attempt(number) for number in range(8)))
    room = placement.rooms.get("e1")
    assert room is not None and room.taken == room.capacity and room.attempts == 8
    for each in placed:
        placement.release(each)
    assert room.free == room.capacity and room.quick == Slots() and room.quick_attempts == 0


def test_nobody_follows_what_is_not_quick() -> None:
    placement = with_cores(2)
    assert seek(placement, attempt(0, task="slow"))
    assert len(seek(placement, *(attempt(number) for number in range(20)))) == 1 + 3, "behind the other core's only"
    full = with_cores(1)
    assert seek(full, attempt(0, task="slow"))
    assert not seek(full, attempt(1))


def test_as_long_as_somebody_waits_who_is_not_quick_nobody_follows() -> None:
    placement = with_cores(1)
    assert seek(placement, attempt(0))
    assert not seek(placement, attempt(0, task="slow"))
    assert not seek(placement, *(attempt(number) for number in range(1, 9)))
    placement.release(attempt(0))
    assert [found for found, _ in placement.fill(NOW)] == [attempt(0, task="slow")]
    placement.release(attempt(0, task="slow"))
    assert len(placement.fill(NOW)) == 1 + 3


def test_a_large_request_for_which_slots_gather_is_not_put_off_by_followers() -> None:
    placement = with_cores(2)
    placement.quick.note("large", 1)
    assert len(seek(placement, attempt(0), attempt(1))) == 2
    assert not seek(placement, attempt(0, task="large"), slots=Slots(cpu_millis=3000))
    large = attempt(1, task="large")
    two = Slots(cpu_millis=2000)
    assert seek(placement, large, slots=two) == [] and placement.pending == 2
    for number in range(100):
        placement.release(attempt(number))
        placement.seek(attempt(number + 2), CORE, NOW + PASSED_OVER_US, project="p")
        placed = [found for found, _ in placement.fill(NOW + PASSED_OVER_US)]
        if large in placed:
            return
    raise AssertionError("it was passed over")


def test_followers_respect_a_projects_limit_and_the_backlog_of_an_executor() -> None:
    placement = Placement(limits={"p": 3}, task_of=lambda _: "short")
    placement.all_known()
    placement.open("e1", "life", CORE, backlog=100)
    placement.quick.note("short", 1)
    assert len(seek(placement, *(attempt(number) for number in range(20)))) == 3
    assert len(seek(with_cores(2, backlog=5), *(attempt(number) for number in range(20)))) == 5
    few = with_cores(2)
    few.open("e1", "life", Slots(cpu_millis=2000), backlog=100, places=3)
    assert len(seek(few, *(attempt(number) for number in range(20)))) == 3
    assert len(seek(with_cores(2, backlog=0), *(attempt(number) for number in range(20)))) == 2


def test_nobody_follows_where_leaders_of_other_shards_hold_or_want_slots() -> None:
    placement = with_cores(2)
    placement.offer("e1", CORE)
    assert len(seek(placement, *(attempt(number) for number in range(20)))) == 1


def test_nobody_follows_either_where_they_have_wanted_none_for_a_moment_only() -> None:
    placement = with_cores(2)
    placement.offer("e1", CORE)
    placement.offer("e1", Slots(cpu_millis=2000))
    assert len(seek(placement, *(attempt(number) for number in range(20)))) == 2
    placement.release(attempt(0))
    assert len(placement.fill(NOW + ALONE_US - 1)) == 1
    placement.release(attempt(1))
    assert len(placement.fill(NOW + ALONE_US)) > 1


def test_projects_follow_in_turn() -> None:
    placement = with_cores(1)
    assert seek(placement, attempt(0))
    for number in range(10):
        placement.lines.add(attempt(number, 2), Wish(CORE, 0, False), "a", NOW)
        placement.lines.add(attempt(number, 3), Wish(CORE, 0, False), "b", NOW)
    placement.release(attempt(0))
    executions = [found.execution for found, _ in placement.fill(NOW)]
    assert sorted(executions) == [2, 2, 3, 3]


def test_an_attempt_that_gets_no_slot_in_time_makes_its_task_slow() -> None:
    placement = with_cores(1)
    placed = seek(placement, attempt(0), attempt(1))
    assert placed == [attempt(0), attempt(1)]
    placement.turned_away(attempt(1))
    placement.release(attempt(1))
    assert not seek(placement, attempt(2))
    for _ in range(100):
        placement.lasted(attempt(0), 1_000)
    assert [found for found, _ in placement.fill(NOW)] == [attempt(2)]


async def test_an_executor_is_assigned_what_follows_when_it_has_shown_that_it_ends_soon(tmp_path: Path) -> None:
    fan = workflow(*(node(f"n{number}", "add", x="x") for number in range(6)), name="fan", inputs={"x": INTEGER})
    async with leading(tmp_path) as it:
        executor = it.connect("e1", cores=1, backlog=100)
        it.launch(fan, key=1, x=0)
        first = await executor.assigned("n0")
        await until(lambda: it.term.placement.pending == 5, "five in the line")
        ended = report_of(first.id, ReportPhase.SUCCEEDED)
        executor.say(replace(ended, started_us=ended.at_us - 1_000))
        for number in range(1, 6):
            await executor.assigned(f"n{number}")
        turned_away = report_of(AttemptId(1, "n5", 0), ReportPhase.REJECTED)
        executor.say(turned_away)
        await until(lambda: it.term.placement.pending == 1, "n5 in the line again, with a new number")


@given(st.lists(st.tuples(st.sampled_from(["short", "slow"]), st.integers(1, 3), st.booleans()), max_size=60))
def test_slots_come_out_even_whatever_comes_and_goes(events: list[tuple[str, int, bool]]) -> None:
    placement = with_cores(4)
    held: list[AttemptId] = []
    room = placement.rooms.get("e1")
    assert room is not None
    for number, (task, cores, ends) in enumerate(events):
        if ends and held:
            placement.release(held.pop(number % len(held)))
        else:
            seeking = attempt(number, task=task)
            held += seek(placement, seeking, slots=Slots(cpu_millis=1000 * cores))
        held += [found for found, _ in placement.fill(NOW)]
        slow = room.used.minus(room.quick)
        assert slow.fits(room.capacity) and room.quick.cpu_millis <= 4 * room.capacity.cpu_millis
        assert room.attempts == len(held)
    for each in list(held):
        placement.release(each)
    placement.drop(1)
    assert room.used == Slots() and room.quick == Slots() and room.quick_attempts == 0
