"""Back-off: doubling, capped, scattered, and back to the start."""

from __future__ import annotations

import random

import pytest

from libs.runtime.backoff import Backoff


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(0.1, 1.0, jitter=0.0)
    assert [backoff.next() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_waits_are_scattered_within_the_jitter() -> None:
    backoff = Backoff(1.0, 1.0, jitter=0.2, dice=random.Random(7))
    waits = [backoff.next() for _ in range(1000)]
    assert 0.8 <= min(waits) < 0.82
    assert 1.18 < max(waits) <= 1.2


def test_a_success_starts_again() -> None:
    backoff = Backoff(0.1, 10.0, jitter=0.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == pytest.approx(0.1)


@pytest.mark.parametrize(("base", "cap", "jitter"), [(0.0, 1.0, 0.2), (2.0, 1.0, 0.2), (1.0, 2.0, 1.0)])
def test_senseless_numbers_are_refused(base: float, cap: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        Backoff(base, cap, jitter)
