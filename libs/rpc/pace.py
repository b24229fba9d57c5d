"""How long a sender rests between two messages, so that what comes one by one and fast leaves in batches.

`Batcher` already sends crowds together. What is left is a fast trickle: five thousand submissions a second, each by
itself, would be five thousand messages. A rest long enough for some to gather makes them five hundred, and a rest that
depends on the rate leaves slower traffic alone: whoever sends less than `SLOW` items a second never waits at all. A
client that waits for each execution before it submits the next one is slower than that, however fast each of them is.
"""

from __future__ import annotations

import asyncio
from typing import Final

WANTED_ITEMS: Final = 16
"""How many items are waited for: then the message costs each of them little."""

LONGEST_SECONDS: Final = 0.002
"""… and for how long at most: not to be felt by whoever happens to be among many."""

SLOW: Final = 2_000
"""Items a second that are not worth waiting for: four of them would come in the longest rest."""

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
