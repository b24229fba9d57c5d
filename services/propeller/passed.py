"""Nobody is passed over for ever.

A request that could be granted if an executor were empty enough, and that has seen others of the same urgency or less
get slots a hundred times, or at all for half a minute, has the executor that lacks least kept for it: what becomes free
there stays free until it is enough. One executor at a time, so that large requests never idle a whole cluster; the
price is those slots until then. Attempts do not say how long they will take, so none is let in meanwhile on the promise
to be short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.propeller.lines import Lines
from services.propeller.rooms import Rooms, Wish

PASSED_OVER_TIMES = 100
PASSED_OVER_US = 30_000_000
"""After so many times, or once and so long, slots are kept for a request that needs more of them than become free."""


@dataclass(slots=True)
class _Passed:
    """A wish that could not be granted while others could."""

    since_us: int
    times: int = 0


class PassedOver:
    """The wishes of one leader that could not be granted, and the executor that is kept for one of them."""

    def __init__(self, rooms: Rooms, lines: Lines, is_wanted: Callable[[Wish], bool]) -> None:
        """`is_wanted` tells whether somebody who may have it waits for it."""
        self._rooms = rooms
        self._lines = lines
        self._is_wanted = is_wanted
        self._passed: dict[Wish, _Passed] = {}

    def note(self, wish: Wish, now_us: int) -> None:
        """No executor can grant it now."""
        if wish not in self._passed:
            self._passed[wish] = _Passed(now_us)

    def served(self, served: Wish) -> bool:
        """Somebody has got what he wished for. Returns whether that frees what was kept for him."""
        freed = False
        if self._passed.pop(served, None) is not None and self._rooms.kept and self._rooms.kept[1] == served:
            self._rooms.keep_none()
            freed = True
        for wish, passed in self._passed.items():
            passed.times += wish.priority >= served.priority
        return freed

    def keep_one(self, now_us: int) -> None:
        """Sees to it that an executor is kept for who has been passed over, if anybody has been for too long."""
        waiting = self._lines.wishes()
        for wish in [wish for wish in self._passed if wish not in waiting]:
            del self._passed[wish]
        kept = self._rooms.kept
        if kept is not None and (self._rooms.keeps_in_vain() or not self._is_wanted(kept[1])):
            self._rooms.keep_none()
        if self._rooms.kept is None:
            overdue = [wish for wish, passed in self._passed.items() if self._is_overdue(wish, passed, now_us)]
            if overdue:
                self._rooms.keep_one(max(overdue, key=lambda wish: (wish.priority, self._passed[wish].times)))

    def _is_overdue(self, wish: Wish, passed: _Passed, now_us: int) -> bool:
        others = passed.times >= 1 or self._rooms.shared  # what others get through their own leaders is not seen here
        long = others and now_us - passed.since_us >= PASSED_OVER_US
        return (long or passed.times >= PASSED_OVER_TIMES) and self._is_wanted(wish) and self._rooms.could_ever(wish)
