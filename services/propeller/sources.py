"""Where a leader's work comes from, beside its executors: the queue service, timers, and the sweep, which finds what
no hint told.

Each gives the reconciler keys and nothing else. Those of executions in memory come with what is wanted of them now,
read for many at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from libs.clients.queue import Leased, WorkFeed
from libs.clients.streams import Counters
from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.workflow.errors import FailedPrecondition, Fenced, Unavailable
from libs.workflow.machine import messages as m
from libs.workqueue import Item
from services.propeller.library import Library
from services.propeller.reconcile import Reconciler
from services.propeller.store import LeaderStore

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 10_000
"""Executions that one look finds at most."""
RETRY_LEASE_US = 1_000_000
"""How long the queue keeps keys back that were handed back because the store is away."""
BELOW_SECONDS = 0.1
"""How long descendants that are to be aborted gather after a look for them: every failure of an execution asks for one,
and each look finds all that wants a turn.
"""


class Sources:
    """What gives the executions of one shard their turns. Its tasks run as long as the term."""

    def __init__(
        self,
        shard: int,
        epoch: int,
        store: LeaderStore,
        library: Library,
        reconciler: Reconciler,
        feed: Callable[[int, int], WorkFeed | None],
        clock: Clock,
        sweep_seconds: float,
    ) -> None:
        """`feed` opens the stream of keys of a shard in an epoch, or gives None where there is no queue service."""
        self._shard = shard
        self._epoch = epoch
        self._store = store
        self._library = library
        self._reconciler = reconciler
        self._open_feed = feed
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._feed: WorkFeed | None = None
        """The stream of keys that is open."""
        self._below = asyncio.Event()
        """Set when something was passed on to descendants in a commit."""
        self.counters = Counters()
        """Messages exchanged with the queue service."""

    @property
    def paused(self) -> bool:
        """Whether somebody wants nothing new to begin, as far as is known."""
        return self._feed is not None and self._feed.paused

    async def hear_of_pause(self, seconds: float) -> None:
        """Waits until the queue service has said whether new executions are held back, at most so long."""
        if self._feed is not None:
            await together.within(seconds, self._feed.informed.wait())

    async def take_work(self) -> None:
        """Takes keys from the queue service and gives them turns. Raises Fenced when a higher epoch does."""
        feed = self._feed = self._open_feed(self._shard, self._epoch)
        if feed is None:
            return
        self.counters = feed.counters
        feed.hand_over(partial(self._attend_what_is_new, feed))
        try:
            async with feed:
                async for leases in feed:
                    await self._attend_leases(feed, leases)
        except FailedPrecondition as error:
            raise Fenced(error.message) from error

    async def keep_time(self) -> None:
        """Gives delayed keys their turn when it is time."""
        delayed = self._reconciler.delayed
        while True:
            delayed.clear()
            due_us = self._reconciler.next_due_us()
            wait = None if due_us is None else max(0, due_us - self._clock.now_us()) / 1e6
            try:
                async with asyncio.timeout(wait):
                    await delayed.wait()
            except TimeoutError:
                self._reconciler.advance()

    async def sweep(self) -> None:
        """The safety net: finds what no hint told."""
        while True:
            await asyncio.sleep(self._sweep_seconds)
            try:
                await self.attend_what_is_due()
            except Unavailable as error:
                logger.warning("the sweep waits for the store: %s", error.message)

    def attend_below(self) -> None:
        """What is wanted of descendants has changed in the store."""
        self._below.set()

    async def attend_what_is_below(self) -> None:
        """Finds descendants that are to be aborted as the sweep finds them, but at once: one look for many."""
        backoff = Backoff(0.1, 2.0)
        while True:
            await self._below.wait()
            self._below.clear()
            pause = BELOW_SECONDS
            try:
                await self.attend_what_is_due()
                backoff.reset()
            except Unavailable as error:
                logger.warning("descendants wait for the store: %s", error.message)
                self._below.set()
                pause = backoff.next()
            await asyncio.sleep(pause)

    async def attend_what_is_due(self) -> None:
        """Gives a turn to all that want one, as the store has it. Raises Unavailable."""
        keys = await self._store.due(self._shard, self._clock.now_us(), SWEEP_LIMIT, new=not self.paused)
        await self._read_intents([key for key in keys if self._library.get(key) is not None])
        self._reconciler.attend_all([Item(key) for key in keys])

    def _attend_what_is_new(self, feed: WorkFeed, leases: Sequence[Leased]) -> Sequence[Leased]:
        """Attends those of which nothing has to be read first, and returns the others."""
        others = [leased for leased in leases if leased.key.wants_intent]
        self._attend(feed, [leased for leased in leases if not leased.key.wants_intent] if others else leases)
        return others

    async def _attend_leases(self, feed: WorkFeed, leases: Sequence[Leased]) -> None:
        """Attends those of which it has to be read first what is wanted of them."""
        try:
            await self._read_intents([leased.key.id for leased in leases])
        except Unavailable as error:
            logger.warning("%d keys go back to the queue: %s", len(leases), error.message)
            for leased in leases:
                feed.retry(leased, RETRY_LEASE_US)
            return
        self._attend(feed, leases)

    def _attend(self, feed: WorkFeed, leases: Sequence[Leased]) -> None:
        for leased in leases:
            self._reconciler.when_settled(leased.key.id, partial(feed.done, leased))
        self._reconciler.attend_all([Item(leased.key.id, leased.key.lane, leased.key.priority) for leased in leases])

    async def _read_intents(self, keys: list[int]) -> None:
        """One read for all: what `admin` wants of executions that are in memory already."""
        if keys:
            for key, intent in (await self._store.intents(keys)).items():
                self._reconciler.tell(key, m.IntentRead(intent))
