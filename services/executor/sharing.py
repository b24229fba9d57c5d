"""How this executor's slots are shared by the leaders of several shards, who know nothing of each other.

Each leader is told its *offer*: what it may hold here in all. What nobody asks for is offered to everybody, so that
whoever gets something to do can begin at once; should two of them take the same, the second is rejected, which costs
nothing. What is asked for by more than one is divided by dominant resource fairness (Ghodsi et al. 2011): the more
urgent demand first, then whoever has the smallest part of the machine, then whoever got something longest ago. A
demand that is to gather (it was passed over too often) and whose turn it is gets all that becomes free, until it is
enough.

Offers are what leaders place by; the slots themselves are granted to whoever asks first (`slots`), for an offer may
have changed while an assignment was on its way. With one shard nothing of this happens: the offer is the capacity.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Final

from libs.wire.session import Demand
from libs.workflow.quantities import Slots

NOTHING = Slots()

LEARNING_SECONDS: Final = 0.1
"""How long what a leader has sent before it knew that it has to share may be on its way."""


def offers(
    capacity: Slots, held: Mapping[int, Slots], demands: Mapping[int, Demand], served: Mapping[int, int]
) -> dict[int, Slots]:
    """By shard with a demand (an empty one, if nothing waits there), what it may hold in all. Pure.

    `held` is what attempts of each shard hold now, `served` numbers their last grants, lower is longer ago.
    """
    free = capacity
    for slots in held.values():
        free = free.minus(slots)
    given = {shard: held.get(shard, NOTHING) for shard in demands}
    left = {shard: demand.count for shard, demand in demands.items()}

    def turn(shard: int) -> tuple[int, float, int, int]:
        return -demands[shard].priority, _part(given[shard], capacity), served.get(shard, 0), shard

    turns = [turn(shard) for shard in demands if left[shard]]
    heapq.heapify(turns)
    while turns:
        shard = heapq.heappop(turns)[-1]
        each = demands[shard].each
        if each.fits(free):
            given[shard] = given[shard].plus(each)
            free = free.minus(each)
            left[shard] -= 1
            if left[shard]:
                heapq.heappush(turns, turn(shard))
        elif demands[shard].gathers and each.fits(capacity):
            return given  # what is free stays free until it is enough for this one
    return {shard: slots.plus(free) for shard, slots in given.items()}


def _part(slots: Slots, capacity: Slots) -> float:
    """The largest of the parts that these slots are of all cores, of all memory, of all gpus."""
    return max(has / of if of else 0.0 for has, of in zip(slots, capacity, strict=True))


class Sharing:
    """What each shard holds and asks for, and what it was offered last. Belongs to one event loop."""

    def __init__(self, capacity: Slots, tell: Callable[[int, Slots], None]) -> None:
        """`tell` gives a leader its new offer."""
        self._capacity = capacity
        self._tell = tell
        self._held: dict[int, Slots] = {}
        self._demands: dict[int, Demand] = {}
        """Of the shards that have a session."""
        self._offered: dict[int, Slots] = {}
        self._shared_at: dict[int, float] = {}
        """When a shard that was offered everything was told of less, by the clock of the event loop."""
        self._served: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._known: set[int] = set()
        """Shards that have ever had a session or an attempt: as long as it is one, its offer is everything."""
        self._due = False

    def join(self, shard: int) -> Slots:
        """A session begins. Returns its first offer."""
        self._known.add(shard)
        self._demands[shard] = Demand()
        self._offered[shard] = self._now()[shard]
        self._changed()
        return self._offered[shard]

    def offer(self, shard: int) -> Slots | None:
        """What a shard is offered now; None while it is the only one, which is offered everything."""
        return self._offered.get(shard) if len(self._known) > 1 else None

    def knows_to_share(self, shard: int) -> bool:
        """Whether leaders of other shards hold something here, or want to, and this one has had time to hear of it."""
        if not self._is_shared(shard) or self._offered.get(shard) == self._capacity:
            return False
        return asyncio.get_running_loop().time() >= self._shared_at.get(shard, 0.0) + LEARNING_SECONDS

    def _is_shared(self, shard: int) -> bool:
        held = any(slots != NOTHING for other, slots in self._held.items() if other != shard)
        return held or any(demand.count for other, demand in self._demands.items() if other != shard)

    def leave(self, shard: int) -> None:
        """The session is over; what the shard holds it goes on to hold."""
        self._demands.pop(shard, None)
        self._offered.pop(shard, None)
        self._changed()

    def ask(self, shard: int, demand: Demand) -> None:
        """What waits at the shard's leader now."""
        if shard in self._demands:
            self._demands[shard] = demand
            self._changed()

    def take(self, shard: int, slots: Slots) -> None:
        self._known.add(shard)
        self._held[shard] = self._held.get(shard, NOTHING).plus(slots)
        self._served[shard] = next(self._numbers)
        self._changed()

    def give_back(self, shard: int, slots: Slots) -> None:
        self._held[shard] = self._held[shard].minus(slots)
        self._changed()

    def _now(self) -> dict[int, Slots]:
        return offers(self._capacity, self._held, self._demands, self._served)

    def _changed(self) -> None:
        """Looks once, after all that happens in this round of the event loop."""
        if not self._due and self._demands and len(self._known) > 1:
            self._due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._due = False
        for shard, slots in self._now().items():
            if slots != self._offered[shard]:
                if self._offered[shard] == self._capacity:
                    self._shared_at[shard] = asyncio.get_running_loop().time()
                self._offered[shard] = slots
                self._tell(shard, slots)
