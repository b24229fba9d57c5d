"""Shares by weight, turns, and exact limits."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from libs.workqueue import Shares


def test_who_has_less_by_weight_is_next() -> None:
    shares = Shares({"a": 3}, {})
    assert shares.standing("a", 0.6) < shares.standing("b", 0.25)
    assert shares.standing("a", 0.9) > shares.standing("b", 0.25)


def test_who_has_the_same_takes_turns() -> None:
    shares = Shares({}, {})
    shares.take("a")
    assert shares.standing("b", 0) < shares.standing("a", 0)


def test_who_comes_back_is_due_once() -> None:
    shares = Shares({}, {})
    for name in "ab":
        shares.enter(name)
    for _ in range(100):
        shares.take("a")
    shares.enter("b")
    shares.take("b")
    assert shares.standing("a", 0) <= shares.standing("b", 0)


def test_a_star_speaks_for_all_who_are_not_named() -> None:
    shares = Shares({"*": 2, "a": 5}, {"*": 1})
    assert (shares.weight("a"), shares.weight("b"), shares.limit("b")) == (5, 2, 1)


def test_a_limit_is_exact() -> None:
    shares = Shares({}, {"a": 2})
    shares.take("a")
    shares.keep("a")
    assert shares.full("a")
    shares.give_back("a")
    assert not shares.full("a")
    assert not shares.full("b")


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5), min_size=1), st.integers(1, 200))
def test_turns_follow_the_weights_at_every_moment(weights: dict[str, int], turns: int) -> None:
    shares = Shares(weights, {})
    served: Counter[str] = Counter()
    for _ in range(turns):
        name = min(weights, key=lambda name: (shares.standing(name, 0), name))
        shares.take(name)
        served[name] += 1
        for one in weights:
            for other in weights:
                assert (served[one] - 1) / weights[one] <= served[other] / weights[other] + 1e-9
