"""The shards of an installation, and this replica's part in leading them.

With one shard every replica campaigns for it, and the others wait. With several, replicas agree on who leads what:
each looks who is there, campaigns for its part (`rota`), and gives up what has become another's. Moving a shard is to
finish its turns, to resign, and then the other's claim; until that claim nobody leads it, and executors keep what they
have to report. Two never write for one shard, whatever anybody believes: the fence in the store sees to that (P2).

All shards that a replica leads share its connections to the store: a commit is one round trip, and a handful of shards
in one process keep no more than one of them busy, for it is the process that is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

from libs.election import LeaderInfo, Survey
from libs.runtime import together
from libs.runtime.clock import Clock
from libs.workflow.errors import Unavailable
from services.propeller.leadership import Leadership
from services.propeller.rota import Rota
from services.propeller.term import Term

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""How often a replica looks who is there: a shard whose leader resigns is led again in under a second."""


class Presence(Protocol):
    """What is needed of `libs.election.Presence`."""

    replica: str

    async def keep(self, leaving: asyncio.Event) -> None: ...

    async def look(self) -> Survey: ...


class Known(NamedTuple):
    """Who leads a shard, as far as this replica knows."""

    shard: int
    leader: LeaderInfo | None
    epoch: int
    """0 unless it is this replica."""


class Shards:
    """This replica's leaderships, one for each shard whether it leads it or not."""

    def __init__(
        self, leaderships: Sequence[Leadership], presence: Presence | None, clock: Clock, patience_seconds: float
    ) -> None:
        """`presence` is None where there is one shard; for `patience_seconds` see `Rota`."""
        self._leaderships = leaderships
        self._presence = presence
        self._clock = clock
        self._patience = patience_seconds
        self._survey: Survey | None = None
        """What the last look has shown; None before the first."""

    def __len__(self) -> int:
        return len(self._leaderships)

    def term(self, shard: int) -> Term | None:
        """What this replica has while it leads a shard; None while it does not, or there is no such shard."""
        return self._leaderships[shard].term if shard < len(self._leaderships) else None

    async def decided(self, shard: int) -> None:
        """Returns when this replica leads a shard, or does not try to any more. At once where it does not try."""
        if shard < len(self._leaderships):
            await self._leaderships[shard].decided()

    def terms(self) -> list[Term]:
        """Of all shards that this replica leads."""
        return [leadership.term for leadership in self._leaderships if leadership.term is not None]

    async def leaders(self) -> list[Known]:
        """Who leads each shard; with several of them as of the last look, for all executors ask when a leader is gone.

        Raises Unavailable when etcd does not say.
        """
        if self._presence is None:
            found = await self._leaderships[0].observe()
            leaders = {} if found is None else {0: found}
        else:
            leaders = dict(self._survey.leaders) if self._survey is not None else {}
        return [Known(shard, leaders.get(shard), self._epoch(shard)) for shard in range(len(self))]

    def unknown(self) -> list[Known]:
        """What is left of `leaders` when etcd does not say."""
        return [Known(shard, None, self._epoch(shard)) for shard in range(len(self))]

    def _epoch(self, shard: int) -> int:
        term = self.term(shard)
        return 0 if term is None else term.epoch

    async def run(self, stopping: asyncio.Event) -> None:
        """Leads what is this replica's to lead, until `stopping` is set. Leaves nothing held behind."""
        if self._presence is None:
            await self._leaderships[0].run(stopping)
        else:
            # It is gone for the others as soon as it is to stop: whoever leads next waits already when it resigns.
            await together.both(presence=self._presence.keep(stopping), shards=self._share(self._presence, stopping))

    async def _share(self, presence: Presence, stopping: asyncio.Event) -> None:
        rota = Rota(len(self), presence.replica, self._patience)
        leaving: dict[int, asyncio.Event] = {}
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                try:
                    survey = self._survey = await presence.look()
                except Unavailable as error:
                    logger.warning("who is there is unknown, everybody keeps their shards: %s", error.message)
                else:
                    led = {shard: leader.holder for shard, leader in survey.leaders.items()}
                    part = rota.part(survey.replicas, led, self._clock.monotonic())
                    self._take_part(part, leaving, group)
                await together.within(LOOK_SECONDS, stopping.wait())
            for leave in leaving.values():
                leave.set()

    def _take_part(self, part: set[int], leaving: dict[int, asyncio.Event], group: asyncio.TaskGroup) -> None:
        """Begins with what is new in the part, and gives up what is in it no longer. One that comes back while it is
        being given up is begun again after that."""
        for shard, leave in leaving.items():
            if shard not in part and not leave.is_set():
                logger.info("shard %d is another replica's", shard)
                leave.set()
        for shard in sorted(part - leaving.keys()):
            leaving[shard] = asyncio.Event()
            running = group.create_task(self._leaderships[shard].run(leaving[shard]), name=f"shard-{shard}")
            running.add_done_callback(partial(_forget, leaving, shard))


def _forget(leaving: dict[int, asyncio.Event], shard: int, _: object) -> None:
    del leaving[shard]
