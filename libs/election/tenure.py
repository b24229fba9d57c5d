"""Until when this process may assume that it leads: one number, shared by the thread that extends it and its readers.

It only ever ends once. An extension that comes too late, or after the end, is refused, so that nobody who has been
told that leadership is over can see it come back.
"""

from __future__ import annotations

import threading

from libs.runtime.clock import Clock

OVER = float("-inf")


class Tenure:
    """A stretch of leadership under one lease. Safe to use from any thread."""

    def __init__(self, lease_id: int, deadline: float, clock: Clock) -> None:
        self.lease_id = lease_id
        self._clock = clock
        self._deadline = deadline
        self._lock = threading.Lock()

    def deadline(self) -> float:
        """On the monotonic clock; `OVER` once it has ended. Compare with the clock before every act of a leader."""
        return self._deadline

    @property
    def ended(self) -> bool:
        """Whether it has ended for good."""
        return self._deadline == OVER

    def extend(self, deadline: float) -> bool:
        """Moves the deadline. Returns False, and ends for good, when the old one has passed already."""
        with self._lock:
            if self._passed():
                return False
            self._deadline = max(self._deadline, deadline)
            return True

    def end_if_due(self) -> bool:
        """Ends it if its deadline has passed. Returns whether it has ended."""
        with self._lock:
            return self._passed()

    def end(self) -> None:
        """Ends it now."""
        with self._lock:
            self._deadline = OVER

    def _passed(self) -> bool:
        if self._clock.monotonic() >= self._deadline:
            self._deadline = OVER
        return self.ended
