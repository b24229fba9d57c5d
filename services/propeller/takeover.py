"""How a new leader comes to know what is live: it asks for all of it, what is due first.

Until everything that was live when the term began has had its first turn, it is not known what each project has running
(`Placement.holds_back`). What is new waits if somebody has paused the queue; what has begun does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.workflow.errors import Unavailable
from libs.workqueue import Item
from services.propeller.reconcile import Reconciler
from services.propeller.sessions import PATIENT
from services.propeller.sources import SWEEP_LIMIT, Sources
from services.propeller.store import LeaderStore

logger = logging.getLogger(__name__)

PAUSE_KNOWN_SECONDS = 1.0
"""How long a new leader waits to hear from the queue service whether new executions are held back. What has begun does
not wait, and if the service is away nobody holds anything back.
"""
PAGE = 1_000
"""Live executions asked for at a time."""


class TakeOver:
    """The beginning of one term."""

    def __init__(
        self,
        store: LeaderStore,
        shard: int,
        reconciler: Reconciler,
        sources: Sources,
        clock: Clock,
        on_warm: Callable[[float], None],
    ) -> None:
        """`on_warm` is called once, when everything that was live has had its first turn: so many seconds later."""
        self._store = store
        self._shard = shard
        self._reconciler = reconciler
        self._sources = sources
        self._clock = clock
        self._on_warm = on_warm
        self._cold: set[int] = set()
        """Executions that were live when the term began and have not had their first turn."""
        self._all_asked = False
        self._began = clock.monotonic()
        self.began_us = clock.now_us()
        self.synced_us = 0
        """When every execution that was live when the term began had had its first turn; 0 before."""

    @property
    def synced(self) -> bool:
        return self.synced_us > 0

    @property
    def cold(self) -> int:
        """How many executions that were live when the term began have not had their first turn, as far as is known."""
        return len(self._cold)

    async def run(self) -> None:
        """Asks for all that is live; for what is new only if nobody holds that back."""
        due = await self._due(new=False)
        self._warm(due, 0)
        await self._sources.hear_of_pause(PAUSE_KNOWN_SECONDS)
        new = not self._sources.paused
        if new:
            begun, due = due, await self._due(new=True)
            self._warm(due - begun, 0)
        after = 0
        while keys := await self._at_last(partial(self._store.live, self._shard, after, PAGE, new=new)):
            self._warm((key for key in keys if key not in due), PATIENT)
            after = keys[-1]
        self._all_asked = True
        self._note_synced()

    async def _due(self, *, new: bool) -> frozenset[int]:
        now_us = self._clock.now_us()
        return frozenset(await self._at_last(partial(self._store.due, self._shard, now_us, SWEEP_LIMIT, new=new)))

    async def _at_last(self, read: Callable[[], Awaitable[list[int]]]) -> list[int]:
        """What the store answers, however long it is away."""
        backoff = Backoff(0.1, 2.0)
        while True:
            try:
                return await read()
            except Unavailable as error:
                logger.warning("taking over waits for the store: %s", error.message)
                await asyncio.sleep(backoff.next())

    def _warm(self, keys: Iterable[int], priority: int) -> None:
        items = [Item(key, priority=priority) for key in keys]
        for item in items:
            self._cold.add(item.key)
            self._reconciler.when_settled(item.key, partial(self._warmed, item.key))
        self._reconciler.attend_all(items)

    def _warmed(self, key: int) -> None:
        self._cold.discard(key)
        self._note_synced()

    def _note_synced(self) -> None:
        if self._all_asked and not self._cold and not self.synced:
            self.synced_us = self._clock.now_us()
            self._on_warm(self._clock.monotonic() - self._began)
