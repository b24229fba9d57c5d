"""Rests that let a trickle gather and leave slow traffic alone."""

from __future__ import annotations

import pytest

from libs.rpc.pace import LONGEST_SECONDS, WANTED_ITEMS, Pace


def messages_for(items_per_second: float, seconds: float = 2.0) -> tuple[int, int]:
    """(messages, items) of a steady stream of single items whose sender keeps the pace."""
    pace = Pace()
    arrivals = [number / items_per_second for number in range(int(items_per_second * seconds))]
    now, sent, messages = 0.0, 0, 0
    while sent < len(arrivals):
        now = max(now, arrivals[sent])
        batch = sum(1 for arrival in arrivals[sent : sent + 10_000] if arrival <= now)
        sent += batch
        messages += 1
        now += pace.rest_after(batch, now)
    return messages, sent


@pytest.mark.parametrize("rate", [1, 50, 490])
def test_slow_traffic_never_rests(rate: int) -> None:
    messages, items = messages_for(rate)
    assert messages == items


@pytest.mark.parametrize("rate", [1_000, 10_000, 100_000])
def test_a_fast_trickle_travels_in_batches(rate: int) -> None:
    messages, items = messages_for(rate)
    assert messages <= 0.1 * items


def test_two_items_in_a_hurry_are_not_a_trickle() -> None:
    pace = Pace()
    assert pace.rest_after(1, 100.0) == 0
    assert pace.rest_after(1, 100.003) == 0


def test_a_rest_is_as_long_as_the_wanted_items_need_and_never_longer_than_the_longest() -> None:
    pace = Pace()
    for number in range(100):
        rest = pace.rest_after(20, 100 + number * 0.01)
    assert rest == pytest.approx(WANTED_ITEMS / 2000, rel=0.01)
    for number in range(100):
        rest = pace.rest_after(6, 200 + number * 0.01)
    assert rest == LONGEST_SECONDS


def test_after_a_pause_the_rate_is_forgotten() -> None:
    pace = Pace()
    for number in range(100):
        pace.rest_after(2, 100 + number * 0.002)
    for second in range(10):
        rest = pace.rest_after(1, 110.0 + second)
    assert rest == 0
