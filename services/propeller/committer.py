"""Group commit: one transaction carries every turn that finished while the last one was being written.

One batch is in flight at a time. The next one is closed when the leader has nothing else to do, or when it is full:
no timer is involved, so a lone turn is committed at once, and a thousand that arrive together share a transaction.

Guarantees: a turn is told to `committed` after its changes are durable, with all of its batch and in order; when they
are not, it is told to `uncommitted` instead, exactly once, with the reason. Fenced ends the leadership. Unavailable
leaves the outcome unknown: the epoch is raised before anybody hears of it, so that the commit has happened by then or
never will, and whoever asked must forget what it has in memory and read again. A batch that the store refuses is
retried one execution at a time, and the refused one is quarantined; where it is refused only for the key of an
execution that it launches, its turn is to be taken again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.workflow.errors import AirscrewError, Fenced, KeyTaken, Refused, Unavailable
from libs.workflow.state import Changes
from services.propeller.pending import Pending
from services.propeller.store import LeaderStore

logger = logging.getLogger(__name__)

QUARANTINE_RETRY_SECONDS = 0.5

RENEWAL_SECONDS = (0.05, 1.0)
"""How long to wait at first, and at most, before the store is asked again for a new epoch."""

_BUSY_ROUNDS = 64
"""How often the event loop may go round while turns are still coming, before the batch is closed all the same."""


P = TypeVar("P", bound=Pending)


@dataclass(frozen=True, slots=True)
class _Aside:
    """An execution to be quarantined for a reason that lies in it, not in its rows."""

    key: int
    reason: str
    then: Callable[[], None]


class Committer(Generic[P]):
    """Writes what turns changed, in batches, as long as this replica leads."""

    def __init__(
        self,
        store: LeaderStore,
        shard: int,
        epoch: int,
        clock: Clock,
        *,
        max_rows: int,
        busy: Callable[[], bool],
        leading: Callable[[], bool],
        on_batch: Callable[[int, int, int], None],
        committed: Callable[[Sequence[P]], None],
        uncommitted: Callable[[P, AirscrewError], None],
    ) -> None:
        """`busy` tells whether more turns are about to come; `leading` whether the lease still holds; `on_batch` is
        told of each commit: its start and end in microseconds, and its number of executions; then its turns are told to
        `committed`, or each of those that are not durable to `uncommitted`."""
        self._store = store
        self._shard = shard
        self._epoch = epoch
        self._clock = clock
        self._max_rows = max_rows
        self._busy = busy
        self._leading = leading
        self._on_batch = on_batch
        self._committed = committed
        self._uncommitted = uncommitted
        self._waiting: deque[P] = deque()
        self._aside: deque[_Aside] = deque()
        self._waiting_rows = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.commits = 0
        self.first_commit_us = 0
        """When the first of them was durable; 0 before."""
        self.rows = 0
        self.fenced = 0
        self.unknown = 0
        """Commits of which nobody knows whether they happened."""
        self.refused = 0

    def submit(self, pending: P) -> None:
        """Takes a turn. Bounded by the executions in memory, for each has at most one open turn."""
        if not self._waiting:
            self._idle.clear()
            self._wake.set()
        self._waiting.append(pending)
        self._waiting_rows += pending.rows

    def set_aside(self, key: int, reason: str, then: Callable[[], None]) -> None:
        """Quarantines an execution that cannot go on; `then` runs when that is durable."""
        logger.error("execution %s is quarantined: %s", key, reason)
        self._aside.append(_Aside(key, reason, then))
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Returns when nothing waits and nothing is being written."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commits for ever. Raises Fenced when somebody else leads."""
        while True:
            await self._wake.wait()
            await self._gather()
            await self._quarantine_what_is_set_aside()
            batch = self._take()
            if batch:
                await self._commit(batch)
            elif not self._aside:
                self._wake.clear()
                self._idle.set()

    async def _gather(self) -> None:
        for _ in range(_BUSY_ROUNDS):
            if self._waiting_rows >= self._max_rows or not self._busy():
                return
            await asyncio.sleep(0)

    def _take(self) -> list[P]:
        batch: list[P] = []
        rows = 0
        while self._waiting and rows < self._max_rows:
            pending = self._waiting.popleft()
            rows += pending.rows
            batch.append(pending)
        self._waiting_rows -= rows
        return batch

    async def _commit(self, batch: list[P]) -> None:
        start = self._clock.now_us()
        try:
            await self._write([pending.changes for pending in batch], sum([pending.rows for pending in batch]))
        except Refused as refused:
            self.refused += 1
            await self._commit_alone(batch, refused)
        except Fenced as fenced:
            self._fail(batch, fenced)
            raise
        except Unavailable as unavailable:
            self.unknown += 1
            logger.warning("commit of %d executions failed, outcome unknown: %s", len(batch), unavailable.message)
            await self._renew(batch)
            self._fail(batch, unavailable)
        else:
            self._on_batch(start, self._clock.now_us(), len(batch))
            self._committed(batch)

    async def _renew(self, batch: list[P]) -> None:
        """Raises the epoch, however long the store is away; nothing could be committed meanwhile anyway."""
        backoff = Backoff(*RENEWAL_SECONDS)
        while True:
            try:
                if not self._leading():
                    raise Fenced("the lease may have expired while the store was away")
                self._epoch = await self._store.renew(self._shard)
                return
            except Unavailable:
                await asyncio.sleep(backoff.next())
            except Fenced as fenced:
                self._fail(batch, fenced)
                raise

    async def _commit_alone(self, batch: list[P], refused: Refused) -> None:
        """Finds the execution whose rows the store refuses: it is quarantined, the others are committed."""
        if len(batch) > 1:
            for pending in batch:
                await self._commit([pending])
            return
        pending = batch[0]
        if isinstance(refused, KeyTaken):
            # Keys of new executions follow from the time: the same turn a moment later chooses others.
            self._uncommitted(pending, refused)
            return
        self.set_aside(
            pending.changes.execution.key,
            f"the store refuses its rows: {refused.message}",
            lambda: self._uncommitted(pending, refused),
        )

    async def _quarantine_what_is_set_aside(self) -> None:
        while self._aside:
            aside = self._aside[0]
            try:
                await self._store.quarantine(self._shard, self._epoch, aside.key, aside.reason, self._clock.now_us())
            except Unavailable as error:
                logger.warning("execution %s cannot be quarantined now: %s", aside.key, error.message)
                await asyncio.sleep(QUARANTINE_RETRY_SECONDS)
                return
            except Refused as error:
                # Not even a plain end can be stored. It stays as it is in the store, and the sweep brings it back.
                logger.error("execution %s cannot be quarantined: %s", aside.key, error.message)
            self._aside.popleft()
            aside.then()

    async def _write(self, batch: list[Changes], rows: int) -> None:
        if not self._leading():
            raise Fenced("the lease may have expired: nothing more is committed")
        try:
            await self._store.commit(self._shard, self._epoch, batch)
        except Fenced:
            self.fenced += 1
            raise
        if not self._leading():
            raise Fenced("the lease may have expired during a commit: nothing follows from it")
        self.commits += 1
        self.first_commit_us = self.first_commit_us or self._clock.now_us()
        self.rows += rows

    def _fail(self, batch: list[P], error: AirscrewError) -> None:
        for pending in batch:
            self._uncommitted(pending, error)
