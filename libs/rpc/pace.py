"""How long a sender rests between two messages, so that what comes one by one and fast leaves in batches.

`Batcher` already sends crowds together. What is left is a fast trickle: a thousand submissions a second, each by
itself, would be a thousand messages. A rest long enough for some to gather makes them sixty, and a rest that depends on
the rate leaves slower traffic alone: whoever sends less than `SLOW` items a second, a client that waits for each
execution before it submits the next for example, never waits at all.
"""

from __future__ import annotations

import asyncio
from typing import Final

WANTED_ITEMS: Final = 16
"""How many items are waited for: then the message costs each of them little."""

LONGEST_SECONDS: Final = 0.02
"""… and for how long at most."""

SLOW: Final = 500
"""Items a second that are not worth waiting for: one client that waits for each of its executions has two milliseconds
for one before it is slowed down."""

_WEIGHT: Final = 0.25  # of the latest message in the running rate: three quick ones make a trickle


class Pace:
    """The rate of one stream of items, and the rests that it deserves."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._last = float("-inf")

    def rest_after(self, items: int, now: float) -> float:
        """Seconds to rest after a message of so many items that leaves now (monotonic seconds)."""
        latest = items / max(now - self._last, 1e-4)
        self._rate += _WEIGHT * (latest - self._rate)
        self._last = now
        return 0.0 if self._rate < SLOW else min(WANTED_ITEMS / self._rate, LONGEST_SECONDS)

    async def rest(self, items: int) -> None:
        """Rests after a message of so many items."""
        seconds = self.rest_after(items, asyncio.get_running_loop().time())
        if seconds > 0:
            await asyncio.sleep(seconds)
