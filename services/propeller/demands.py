"""Tells executors what waits for their slots, where leaders of several shards share them (`services/executor/sharing`).

It is told now and then, and not in each turn: so demand that is met at once costs no message, and an attempt that is on
its way to an executor is still part of the demand for which the executor keeps its slots.
"""

from __future__ import annotations

import asyncio
import itertools

from libs.runtime.clock import Clock
from libs.wire.session import Demand
from services.propeller.placement import Placement
from services.propeller.sessions import Sessions

LOOK_SECONDS = 0.1
REPEATED = 30
"""Every so many looks everything is told again: a demand that was missed must not be missed for ever."""
MOST = 1_000
"""A demand counts no further: no executor starts more at once."""


class Demands:
    """What is asked of each executor."""

    def __init__(self, placement: Placement, sessions: Sessions, clock: Clock) -> None:
        self._placement = placement
        self._sessions = sessions
        self._clock = clock

    async def watch(self) -> None:
        """Looks for ever."""
        for number in itertools.count(1):
            await asyncio.sleep(LOOK_SECONDS)
            self.look(again=number % REPEATED == 0)

    def look(self, *, again: bool = False) -> None:
        """Tells each executor what is new to it, or everything `again`."""
        demands = self._placement.demands(self._clock.now_us())
        for room in self._placement.rooms.all():
            demand = Demand()
            if room.executor in demands:
                wish, count = demands[room.executor]
                kept = self._placement.rooms.keeps(room, wish)
                demand = Demand(wish.slots, min(count, MOST), wish.priority, kept)
            self._sessions.demand(room.executor, demand, again)
