"""How long to wait before trying again: doubling up to a cap, scattered so that many clients do not march in step."""

from __future__ import annotations

import random

DICE = random.Random()
"""Shared, for seeding one costs as much as some tens of waits. Who wants to repeat a run seeds it."""


class Backoff:
    """The waits between successive failures of one thing.

    Wait number n is `base_seconds * 2**n`, at most `cap_seconds`, times a random factor of `1 ± jitter`. `dice` draws
    the factor; give it a seed to repeat a run.
    """

    def __init__(
        self, base_seconds: float, cap_seconds: float, jitter: float = 0.2, dice: random.Random | None = None
    ) -> None:
        if not 0 < base_seconds <= cap_seconds or not 0 <= jitter < 1:
            raise ValueError(f"back-off of {base_seconds} s up to {cap_seconds} s with jitter {jitter} makes no sense")
        self._base = base_seconds
        self._cap = cap_seconds
        self._jitter = jitter
        self._dice = dice or DICE
        self._bound = base_seconds

    def next(self) -> float:
        """Seconds to wait now; the next answer is about twice as long."""
        wait = self._bound * (1 + self._jitter * (2 * self._dice.random() - 1))
        self._bound = min(self._bound * 2, self._cap)
        return wait

    def reset(self) -> None:
        """It worked: start again from `base_seconds`."""
        self._bound = self._base
