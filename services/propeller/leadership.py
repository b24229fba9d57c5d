"""Who acts: campaign, claim, lead, resign, and again, for as long as the process lives.

Winning the election in etcd is not enough to act. The claim turns it into an epoch in the store, and every commit is
conditional on that epoch (promise P2); so a leader that was stopped and wakes up late writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from libs.election import Election, LeaderInfo
from libs.election import Leadership as Lease
from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.workflow.errors import FailedPrecondition, Fenced, Unavailable
from services.propeller.store import LeaderStore
from services.propeller.term import Term

logger = logging.getLogger(__name__)

REFUSED_SECONDS = 5.0
"""How long a replica stays out of the election after its claim was refused: an operator has to act."""


class Leadership:
    """This replica's part in the leadership of one shard."""

    def __init__(
        self,
        shard: int,
        election: Election,
        store: LeaderStore,
        clock: Clock,
        new_term: Callable[[int, Callable[[], bool]], Term],
    ) -> None:
        """`new_term` makes a term from its epoch and from what tells whether the lease still holds."""
        self.shard = shard
        self._election = election
        self._store = store
        self._clock = clock
        self._new_term = new_term
        self.term: Term | None = None
        """What this replica leads now; None while it does not."""
        self._decided = asyncio.Event()
        """Not set while it may come to lead at any moment."""
        self._decided.set()

    async def decided(self) -> None:
        """Returns when this replica leads, or does not try to any more. At once where it does not try."""
        await self._decided.wait()

    async def observe(self) -> LeaderInfo | None:
        """Who leads, by etcd. Raises Unavailable when that is not known."""
        return await self._election.leader()

    async def run(self, stopping: asyncio.Event) -> None:
        """Leads whenever it is this replica's turn, until `stopping` is set. Leaves nothing held behind."""
        self._decided.clear()
        try:
            await self._run(stopping)
        finally:
            self._decided.set()

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                lease = await together.unless(stopping, "campaign", self._election.campaign())
            except together.Interrupted:
                return
            try:
                epoch = await self._claim(lease, stopping)
                if epoch is not None:
                    await self._lead(lease, epoch, stopping)
            finally:
                await lease.resign()

    async def _claim(self, lease: Lease, stopping: asyncio.Event) -> int | None:
        """The epoch; None when this replica must not lead after all."""
        backoff = Backoff(0.1, 1.0)
        while self._holds(lease) and not stopping.is_set():
            try:
                return await self._store.claim(
                    self.shard,
                    lease.cluster_id,
                    lease.create_revision,
                    self._election.holder,
                    self._election.address,
                    self._clock.now_us(),
                )
            except Unavailable as error:
                logger.warning("the claim of shard %d waits for the store: %s", self.shard, error.message)
                await asyncio.sleep(backoff.next())
            except Fenced as error:
                logger.warning("the claim of shard %d came too late: %s", self.shard, error.message)
                return None
            except FailedPrecondition as error:
                logger.error("shard %d cannot be claimed: %s", self.shard, error.message)
                await lease.resign()
                await together.within(REFUSED_SECONDS, stopping.wait())
                return None
        return None

    async def _lead(self, lease: Lease, epoch: int, stopping: asyncio.Event) -> None:
        logger.info("leading shard %d in epoch %d", self.shard, epoch)
        self.term = self._new_term(epoch, lambda: self._holds(lease))
        self._decided.set()
        try:
            await self.term.lead(lease.lost, stopping)
        finally:
            self.term = None
            self._decided.clear()

    def _holds(self, lease: Lease) -> bool:
        return self._clock.monotonic() < lease.deadline()
