"""Slots are held exactly, lines are fair, and nothing is given twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from services.propeller.passed import PASSED_OVER_TIMES, PASSED_OVER_US
from services.propeller.placement import Place, Placement

CORE = Slots(cpu_millis=1000)
GPU = Slots(cpu_millis=1000, gpus=1)
NOW = 1_000_000


def attempt(number: int, execution: int = 1) -> AttemptId:
    return AttemptId(execution, f"n{number}", 0)


def with_cores(cores: int, executor: str = "e1") -> Placement:
    placement = Placement()
    placement.open(executor, "life", Slots(cpu_millis=1000 * cores))
    return placement


def test_a_free_slot_is_given_at_once_and_the_next_attempt_waits() -> None:
    placement = with_cores(1)
    assert placement.seek(attempt(1), CORE, NOW, project="p") is not None
    assert placement.seek(attempt(2), CORE, NOW, project="p") is None
    assert placement.pending == 1


def test_an_executor_of_a_cluster_holds_so_many_whatever_they_want_and_any_that_only_wait() -> None:
    placement = Placement()
    placement.open("e1", "life", Slots(cpu_millis=1_000_000), places=1)
    assert placement.seek(attempt(1), CORE, NOW, project="p") is not None
    assert placement.seek(attempt(2), CORE, NOW, project="p") is None
    assert placement.seek(attempt(3), Slots(), NOW, project="p") is not None
    placement.release(attempt(3))
    assert not placement.fill(NOW)
    placement.open("e1", "another life", Slots(cpu_millis=1_000_000), places=1)
    assert not placement.fill(NOW), "what it has adopted still holds its place"
    placement.release(attempt(1))
    assert [found for found, _ in placement.fill(NOW)] == [attempt(2)]


def test_a_slot_that_becomes_free_goes_to_whoever_waited_longest() -> None:
    placement = with_cores(1)
    for number in (1, 2, 3):
        placement.seek(attempt(number), CORE, NOW, project="p")
    placement.release(attempt(1))
    assert [found for found, _ in placement.fill(NOW)] == [attempt(2)]


def test_nobody_overtakes_a_line_of_the_same_kind() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE, NOW, project="p")
    placement.seek(attempt(2), CORE, NOW, project="p")
    placement.release(attempt(1))
    assert placement.seek(attempt(3), CORE, NOW, project="p") is None


def test_a_request_that_fits_nowhere_delays_only_its_like() -> None:
    placement = with_cores(1)
    assert placement.seek(attempt(1), GPU, NOW, project="p") is None
    assert placement.seek(attempt(2), CORE, NOW, project="p") is not None


def test_work_goes_to_the_executor_with_most_room() -> None:
    placement = with_cores(1, "small")
    placement.open("large", "life", Slots(cpu_millis=4000))
    found = placement.seek(attempt(1), CORE, NOW, project="p")
    assert found is not None
    assert found.executor == "large"


def test_an_executor_that_drains_gets_nothing_new_and_keeps_what_it_has() -> None:
    placement = with_cores(2)
    placement.seek(attempt(1), CORE, NOW, project="p")
    placement.set_open("e1", False)
    assert placement.seek(attempt(2), CORE, NOW, project="p") is None
    assert placement.attempts_on("e1") == [attempt(1)]


def test_an_executor_that_comes_back_has_what_it_held_taken_off_its_capacity() -> None:
    placement = Placement()
    placement.hold(attempt(1), CORE, "e1", "p")
    placement.open("e1", "life", CORE)
    assert placement.seek(attempt(2), CORE, NOW, project="p") is None
    placement.release(attempt(1))
    assert [found for found, _ in placement.fill(NOW)] == [attempt(2)]


def test_dropping_an_execution_gives_back_what_it_holds_and_waits_for() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1, execution=7), CORE, NOW, project="p")
    placement.seek(attempt(2, execution=7), CORE, NOW, project="p")
    placement.seek(attempt(3, execution=8), CORE, NOW, project="p")
    placement.drop(7)
    assert [found for found, _ in placement.fill(NOW)] == [attempt(3, execution=8)]
    assert placement.pending == 0


def test_a_more_urgent_attempt_gets_the_next_slot_whoever_came_first() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE, NOW, project="p")
    placement.seek(attempt(2), CORE, NOW, project="p")
    placement.seek(attempt(3), CORE, NOW, project="p", priority=2)
    placement.seek(attempt(4), CORE, NOW, project="p", priority=1)
    got = []
    for number in (1, 3, 4):
        placement.release(attempt(number))
        got += [found for found, _ in placement.fill(NOW)]
    assert got == [attempt(3), attempt(4), attempt(2)]


def test_whoever_ends_an_attempt_does_not_take_its_slot_before_those_who_wait() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE, NOW, project="p")
    placement.seek(attempt(2, execution=2), CORE, NOW, project="p", priority=2)
    placement.release(attempt(1))
    assert placement.seek(attempt(3), CORE, NOW, project="p") is None
    assert [found for found, _ in placement.fill(NOW)] == [attempt(2, execution=2)]


def test_lines_of_equal_urgency_take_turns_by_arrival() -> None:
    placement = with_cores(4)
    placement.set_open("e1", False)
    half = Slots(cpu_millis=500)
    for number, slots in enumerate((CORE, half, CORE, half)):
        placement.seek(attempt(number), slots, NOW, project="p")
    placement.set_open("e1", True)
    assert [found for found, _ in placement.fill(NOW)] == [attempt(number) for number in range(4)]


def test_only_what_may_be_interrupted_goes_where_it_can_be() -> None:
    placement = Placement()
    placement.open("spot", "life", Slots(cpu_millis=2000), interruptible=True)
    assert placement.seek(attempt(1), CORE, NOW, project="p") is None
    found = placement.seek(attempt(2), CORE, NOW, project="p", interruptible=True)
    assert found is not None
    assert found.executor == "spot"


def test_what_may_be_interrupted_leaves_the_other_executors_to_the_others_while_it_can() -> None:
    placement = with_cores(8, "lasting")
    placement.open("spot", "life", CORE, interruptible=True)
    places = [placement.seek(attempt(number), CORE, NOW, project="p", interruptible=True) for number in range(2)]
    assert [place and place.executor for place in places] == ["spot", "lasting"]


def test_attempts_that_want_nothing_fit_into_what_is_full_and_are_spread() -> None:
    placement = with_cores(1, "e1")
    placement.open("e2", "life", CORE)
    for number in (1, 2):
        placement.seek(attempt(number), CORE, NOW, project="p")
    places = [placement.seek(attempt(number), Slots(), NOW, project="p") for number in (3, 4, 5, 6)]
    assert sorted(place.executor for place in places if place) == ["e1", "e1", "e2", "e2"]


@given(
    st.lists(st.tuples(st.sampled_from(["seek", "release", "fill", "drop", "reopen"]), st.integers(0, 9)), max_size=60)
)
def test_capacity_is_never_exceeded_and_counts_always_agree(moves: list[tuple[str, int]]) -> None:
    placement = with_cores(3)
    for move, number in moves:
        if move == "seek":
            placement.seek(attempt(number, execution=number % 3), CORE, NOW, project="p")
        elif move == "release":
            placement.release(attempt(number, execution=number % 3))
        elif move == "drop":
            placement.drop(number % 3)
        elif move == "reopen":
            placement.open("e1", f"life-{number}", Slots(cpu_millis=3000))
        else:
            placement.fill(NOW)
        room = placement.rooms.all()[0]
        assert room.used.cpu_millis == 1000 * len(placement.attempts_on("e1"))
        assert room.used.cpu_millis <= room.capacity.cpu_millis


# ------------------------------------------------------------------------------------------------ shares and limits


def served(placement: Placement, cores: int, now_us: int = NOW) -> list[AttemptId]:
    """Whom `cores` new ones go to."""
    number = len(placement.rooms.all())
    placement.open(f"new-{number}", "life", Slots(cpu_millis=1000 * cores))
    return [found for found, _ in placement.fill(now_us)]


def waiting(placement: Placement, project: str, count: int, execution: int, slots: Slots = CORE) -> list[AttemptId]:
    attempts = [attempt(number, execution) for number in range(count)]
    for each in attempts:
        assert placement.seek(each, slots, NOW, project=project) is None
    return attempts


def test_projects_get_equal_parts_however_much_each_of_them_wants() -> None:
    placement = Placement()
    waiting(placement, "greedy", 100, execution=1)
    waiting(placement, "modest", 5, execution=2)
    assert Counter(found.execution for found in served(placement, 8)) == {1: 4, 2: 4}


def test_a_project_of_three_times_the_weight_gets_three_times_as_much() -> None:
    placement = Placement(weights={"a": 3})
    waiting(placement, "a", 50, execution=1)
    waiting(placement, "b", 50, execution=2)
    assert Counter(found.execution for found in served(placement, 20)) == {1: 15, 2: 5}


def test_weights_count_where_there_is_only_one_slot_to_take_turns_at() -> None:
    placement = Placement(weights={"a": 3})
    waiting(placement, "a", 50, execution=1)
    waiting(placement, "b", 50, execution=2)
    got = served(placement, 1)
    for _ in range(19):
        placement.release(got[-1])
        got += [found for found, _ in placement.fill(NOW)]
    assert Counter(found.execution for found in got) == {1: 15, 2: 5}


def test_what_a_project_holds_counts_and_not_how_long_it_holds_it() -> None:
    placement = Placement()
    waiting(placement, "slow", 100, execution=1)
    waiting(placement, "quick", 100, execution=2)
    running = served(placement, 8)
    for _ in range(20):  # the quick ones end, again and again
        for found in [found for found in running if found.execution == 2]:
            running.remove(found)
            placement.release(found)
        running += [found for found, _ in placement.fill(NOW)]
        assert Counter(found.execution for found in running)[1] <= 4


def test_a_single_node_does_not_wait_behind_the_many_of_another_execution() -> None:
    placement = Placement()
    waiting(placement, "p", 5000, execution=1)
    one = waiting(placement, "p", 1, execution=2)
    assert one[0] in served(placement, 2)


def test_a_single_node_of_another_size_does_not_wait_behind_the_many_either() -> None:
    placement = Placement()
    waiting(placement, "p", 5000, execution=1)
    one = waiting(placement, "p", 1, execution=2, slots=Slots(cpu_millis=500))
    assert one[0] in served(placement, 3)


def test_a_project_has_never_more_than_its_limit() -> None:
    placement = Placement(limits={"p": 3})
    placement.all_known()
    attempts = waiting(placement, "p", 10, execution=1)
    got = served(placement, 8)
    assert got == attempts[:3]
    placement.release(got[0])
    assert [found for found, _ in placement.fill(NOW)] == [attempts[3]]


def test_a_project_at_its_limit_does_not_keep_others_waiting() -> None:
    placement = Placement(limits={"p": 1})
    placement.all_known()
    placement.open("e1", "life", Slots(cpu_millis=8000))
    placement.seek(attempt(1), CORE, NOW, project="p")
    assert placement.seek(attempt(2), CORE, NOW, project="p") is None
    assert placement.seek(attempt(3), CORE, NOW, project="q") is not None


def test_a_limit_counts_what_former_leaders_have_placed_before_it_admits_anything() -> None:
    placement = Placement(limits={"*": 1})
    placement.open("e1", "life", Slots(cpu_millis=8000))
    assert placement.seek(attempt(1), CORE, NOW, project="p") is None
    placement.hold(attempt(2), CORE, "e1", "p")
    placement.all_known()
    assert placement.fill(NOW) == []
    placement.release(attempt(2))
    assert [found for found, _ in placement.fill(NOW)] == [attempt(1)]


def test_attempts_that_want_nothing_do_not_count_for_a_limit() -> None:
    placement = Placement(limits={"p": 1})
    placement.all_known()
    placement.open("e1", "life", Slots(cpu_millis=8000))
    for number in range(3):
        assert placement.seek(attempt(number), Slots(), NOW, project="p") is not None
    assert placement.seek(attempt(4), CORE, NOW, project="p") is not None


# ---------------------------------------------------------------------------------------------------- nobody starves


def test_a_large_request_gets_its_slots_though_small_ones_keep_coming() -> None:
    placement = with_cores(4)
    running = [attempt(number) for number in range(4)]
    for each in running:
        placement.seek(each, CORE, NOW, project="p")
    large = attempt(0, execution=2)
    placement.seek(large, Slots(cpu_millis=4000), NOW, project="p")
    for number in range(4, 1000):
        placement.seek(attempt(number), CORE, NOW, project="p")
        placement.release(running.pop(0))
        running += [found for found, _ in placement.fill(NOW)]
        if large in running:
            break
    assert large in running
    assert number <= PASSED_OVER_TIMES + 10
    placement.release(large)
    assert len(placement.fill(NOW)) == 4, "slots are kept although nobody large waits"


def test_a_large_request_is_not_put_off_for_long_by_few_either() -> None:
    placement = with_cores(2)
    for number in (1, 2):
        placement.seek(attempt(number), CORE, NOW, project="p")
    placement.seek(attempt(0, execution=2), Slots(cpu_millis=2000), NOW, project="p")
    placement.seek(attempt(3), CORE, NOW, project="p")
    placement.seek(attempt(4), CORE, NOW, project="p")
    placement.release(attempt(1))
    assert [found for found, _ in placement.fill(NOW)] == [attempt(3)]
    placement.release(attempt(2))
    assert placement.fill(NOW + PASSED_OVER_US) == []
    placement.release(attempt(3))
    assert [found for found, _ in placement.fill(NOW + PASSED_OVER_US)] == [attempt(0, execution=2)]


def test_slots_are_kept_from_those_who_are_as_urgent_and_not_from_the_more_urgent() -> None:
    placement = with_cores(2)
    for number in (1, 2):
        placement.seek(attempt(number), CORE, NOW, project="p")
    placement.seek(attempt(0, execution=2), Slots(cpu_millis=2000), NOW, project="p")
    placement.seek(attempt(3), CORE, NOW, project="p")
    placement.release(attempt(1))
    placement.fill(NOW)
    placement.release(attempt(2))
    assert placement.fill(NOW + PASSED_OVER_US) == []
    assert placement.seek(attempt(4), CORE, NOW, project="p") is None
    assert placement.seek(attempt(5), CORE, NOW, project="p", priority=2) is not None


def test_when_nobody_wants_any_more_what_slots_are_kept_for_the_others_get_them_at_once() -> None:
    placement = with_cores(2)
    for number in (1, 2):
        placement.seek(attempt(number), CORE, NOW, project="p")
    large = attempt(0, execution=2)
    placement.seek(large, Slots(cpu_millis=2000), NOW, project="p")
    placement.seek(attempt(3), CORE, NOW, project="p")
    placement.release(attempt(1))
    placement.fill(NOW)
    placement.release(attempt(2))
    assert placement.fill(NOW + PASSED_OVER_US) == []
    assert placement.seek(attempt(4), CORE, NOW, project="p") is None
    assert placement.fill(NOW + PASSED_OVER_US) == []
    placement.unseek(large)
    assert [found for found, _ in placement.fill(NOW + PASSED_OVER_US)] == [attempt(4)]


def test_nothing_is_kept_for_what_no_executor_could_ever_grant() -> None:
    placement = with_cores(1)
    placement.seek(attempt(1), CORE, NOW, project="p")
    placement.seek(attempt(0, execution=2), Slots(cpu_millis=64_000), NOW, project="p")
    last = attempt(1)
    for number in range(2, 2 * PASSED_OVER_TIMES):
        placement.seek(attempt(number), CORE, NOW, project="p")
        placement.release(last)
        ((last, _),) = placement.fill(NOW + number * PASSED_OVER_US)


SIZES = st.sampled_from([Slots(cpu_millis=500), CORE, Slots(cpu_millis=2000), GPU, Slots()])
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["seek", "seek", "seek", "end", "fill", "drop", "lose", "come"]),
        st.integers(0, 11),
        SIZES,
        st.sampled_from("abc"),
        st.integers(0, 2),
    ),
    max_size=120,
)


@given(MOVES)
def test_slots_and_limits_are_never_overused_and_nobody_waits_for_what_is_free(
    moves: list[tuple[str, int, Slots, str, int]],
) -> None:
    placement = Placement(weights={"a": 2}, limits={"b": 2})
    placement.all_known()
    now_us, running = NOW, {}
    for move, number, slots, project, priority in moves:
        now_us += 1_000_000
        identity = attempt(number, execution=number % 4)
        if move == "seek" and identity not in running:
            place = placement.seek(identity, slots, now_us, project=project, priority=priority)
            if place is not None:
                running[identity] = (project, slots)
        elif move == "end":
            placement.release(identity)
            running.pop(identity, None)
        elif move == "drop":
            placement.drop(number % 4)
            running = {each: held for each, held in running.items() if each.execution != number % 4}
        elif move == "lose":
            placement.forget(f"e{number % 2}")
            for each in placement.attempts_on(f"e{number % 2}"):
                placement.release(each)
                running.pop(each, None)
        elif move == "come" and placement.rooms.get(f"e{number % 2}") is None:
            placement.open(f"e{number % 2}", "life", Slots(cpu_millis=3000, gpus=number % 3))
        for found, _ in _noted(placement, now_us, running):
            assert found not in placement.lines
        for room in placement.rooms.all():
            assert room.used.fits(room.capacity)
        assert sum(project == "b" and slots != Slots() for project, slots in running.values()) <= 2
        assert placement.shares.count("b") == sum(p == "b" and s != Slots() for p, s in running.values())
        assert sorted(running) == sorted(each for room in ("e0", "e1") for each in placement.attempts_on(room))
        if placement.rooms.kept is None:
            for line in placement.lines:
                free = placement.rooms.best(line.wish) is not None
                assert not free or placement.shares.full(line.project), "a slot is free and somebody waits for it"


def _noted(
    placement: Placement, now_us: int, running: dict[AttemptId, tuple[str, Slots]]
) -> list[tuple[AttemptId, Place]]:
    projects = {each: (line.project, line.wish.slots) for line in placement.lines for each in line.attempts}
    placed = placement.fill(now_us)
    running.update({found: projects[found] for found, _ in placed})
    return placed


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 40)), min_size=2, max_size=5), st.integers(1, 12))
def test_nobody_who_wants_more_has_less_than_his_share_by_more_than_one(
    projects: list[tuple[int, int]], cores: int
) -> None:
    weights = {f"p{number}": float(weight) for number, (weight, _) in enumerate(projects)}
    placement = Placement(weights)
    for number, (_, count) in enumerate(projects):
        waiting(placement, f"p{number}", count, execution=number)
    got = Counter(found.execution for found in served(placement, cores))
    assert sum(got.values()) == min(cores, sum(count for _, count in projects))
    for number, (weight, count) in enumerate(projects):
        if got[number] < count:  # it would have taken more: nobody else may be more than one attempt further
            for other, (other_weight, _) in enumerate(projects):
                assert (got[other] - 1) / other_weight <= got[number] / weight + 1e-9


def test_the_place_in_the_line_counts_who_takes_turns_with_it() -> None:
    placement = Placement()
    many = waiting(placement, "p", 100, execution=1)
    one = waiting(placement, "p", 1, execution=2)
    waiting(placement, "q", 3, execution=3)
    urgent = attempt(9, execution=4)
    placement.seek(urgent, CORE, NOW, project="q", priority=2)
    assert placement.lines.ahead(urgent) == 0
    assert placement.lines.ahead(one[0]) <= 4
    assert 99 <= placement.lines.ahead(many[99]) <= 104
