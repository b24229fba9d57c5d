"""Time is an argument: whoever needs it takes a `Clock`, so that tests and simulations bring their own.

Points in time are integers, microseconds since the epoch in UTC (`..._us`); they may jump when the machine's clock is
set. Spans of time are measured with `monotonic`, which never goes back and has no meaning outside this process.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past; only differences mean something."""


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock:
    """Another clock whose wall time never goes back, for who waits for points in time.

    When the machine's clock is set back, this one goes on at half its speed until the other has caught up: what waits
    for a moment then waits at most twice as long, and not for as long as the clock was set back. When it is set
    forward, as after a machine was suspended, this one follows at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_us = clock.now_us()
        self._last_monotonic = clock.monotonic()

    def now_us(self) -> int:
        told_us, monotonic = self._clock.now_us(), self._clock.monotonic()
        at_least_us = self._last_us + int((monotonic - self._last_monotonic) * 1e6) // 2
        if told_us >= at_least_us:
            self._last_us, self._last_monotonic = told_us, monotonic
            return told_us
        return at_least_us

    def monotonic(self) -> float:
        return self._clock.monotonic()
