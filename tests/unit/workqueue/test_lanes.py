"""Priorities, and turns between lanes."""

from __future__ import annotations

from collections import Counter

import pytest

from libs.workqueue.lanes import Lanes


def filled(*entries: tuple[str, str, int]) -> Lanes[str]:
    lanes: Lanes[str] = Lanes()
    for key, lane, priority in entries:
        lanes.push(key, lane, priority)
    return lanes


def emptied(lanes: Lanes[str]) -> str:
    return "".join(lanes.pop() for _ in range(len(lanes)))


def test_lanes_of_equal_priority_take_turns() -> None:
    assert emptied(filled(("a", "x", 0), ("b", "x", 0), ("c", "x", 0), ("1", "y", 0), ("2", "y", 0))) == "a1b2c"


def test_a_higher_priority_goes_first_whatever_its_lane() -> None:
    assert emptied(filled(("a", "x", 0), ("b", "y", 5), ("c", "x", -3), ("d", "y", 5))) == "bdac"


def test_a_full_lane_cannot_starve_another() -> None:
    lanes: Lanes[int] = Lanes()
    for key in range(1000):
        lanes.push(key, "greedy", 0)
    lanes.push(-1, "modest", 0)
    assert -1 in (lanes.pop(), lanes.pop())


def test_a_lane_that_comes_back_waits_for_its_turn() -> None:
    lanes = filled(("a", "x", 0), ("1", "y", 0), ("2", "y", 0), ("p", "z", 0))
    assert lanes.pop() == "a"
    lanes.push("b", "x", 0)
    assert emptied(lanes) == "1pb2"


def test_many_lanes_get_equal_shares() -> None:
    lanes: Lanes[tuple[str, int]] = Lanes()
    for number in range(100):
        for lane in "abcde"[: 1 + number % 5]:
            lanes.push((lane, number), lane, 0)
    shares = Counter(lanes.pop()[0] for _ in range(50))
    assert max(shares.values()) - min(shares.values()) <= 1


def test_a_key_can_be_taken_from_the_middle() -> None:
    lanes = filled(("a", "x", 0), ("b", "x", 0), ("c", "y", 1))
    lanes.remove("c", "y", 1)
    lanes.remove("a", "x", 0)
    assert emptied(lanes) == "b"


def test_a_priority_that_ran_empty_can_come_back() -> None:
    lanes = filled(("a", "x", 2), ("b", "x", 1))
    assert lanes.pop() == "a"
    lanes.push("c", "x", 2)
    assert emptied(lanes) == "cb"


def test_priorities_that_come_and_go_leave_nothing_behind() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.push(-1, "x", 0)
    for key in range(1000):
        lanes.push(key, "x", 1)
        assert lanes.pop() == key
        lanes.push(key, "x", -1)
        lanes.remove(key, "x", -1)
    assert len(lanes._priorities) <= 3
    assert lanes.pop() == -1


def test_nothing_can_be_taken_from_no_lanes() -> None:
    with pytest.raises(IndexError):
        Lanes[str]().pop()
