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
