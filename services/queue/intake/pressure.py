"""How many more executions an intake may create before too many of them are unfinished."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Pressure:
    """Counts what was started since the unfinished ones were last counted, so that the limit is never exceeded.

    Args:
        limit: so many may be unfinished at a time.
        count: asks how many are.
    """

    def __init__(self, limit: int, count: Callable[[], Awaitable[int]]) -> None:
        self._limit = limit
        self._count = count
        self._counted: int | None = None
        self._uncounted = 0
        """Started, and perhaps not among those that were counted."""
        self._starting = 0

    @property
    def pending(self) -> int:
        """At most so many are unfinished."""
        return (self._counted or 0) + self._uncounted

    async def room(self, wanted: int) -> int:
        """How many may be started now, up to `wanted`. Counts only when there would be none."""
        if self._counted is None or self.pending >= self._limit:
            uncertain = self._starting
            before = self._uncounted
            counted = await self._count()
            self._counted = counted
            self._uncounted = self._uncounted - before + uncertain
        return max(0, min(wanted, self._limit - self.pending))

    def started(self, count: int) -> None:
        """So many are about to be created."""
        self._uncounted += count
        self._starting += count

    def settled(self) -> None:
        """One of them is there, or will never be."""
        self._starting -= 1
