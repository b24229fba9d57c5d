"""The garbage collector: finished executions go when their time is over, with their rows and their blobs.

One pass marks what may go, looks again at what was marked some time ago, condemns what still may go, and removes it:
see `libs.store.garbage` for the steps and their guarantees, `candidates` for what may go. Blobs go before the rows that
say where they are, so whatever dies in between, the next leader finds what is left to do. Only blobs in the engine's
own places for this very execution are deleted, and raw data only if its submitter chose no place of his own for that.

Without a retention a pass only finishes what an earlier one has condemned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flyteidl.admin import execution_pb2
from google.protobuf.message import DecodeError

from libs.blob import BlobStore, Usage, layout
from libs.runtime import together
from libs.runtime.clock import Clock
from libs.store.garbage import Garbage, Member
from libs.workflow.errors import AirscrewError, Fenced
from services.propeller.garbage import candidates
from services.propeller.garbage.retention import Retention
from services.propeller.garbage.store import GarbageStore

T = TypeVar("T")

logger = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
"""How long a new leader has more urgent things to do, at most."""
FAMILIES = 200
"""Heads that are worked at together."""
DELETIONS = 8
"""Executions whose blobs are deleted at once."""
_MEMBERS = 100
"""Executions whose blobs are deleted, and then their rows, before the next ones' are."""
RESERVATION_US = 3_600_000_000
"""Reservations of the cache that are older, and whose owner has ended, are of no use to anybody."""


@dataclass(slots=True)
class Pass:
    """What one pass has done."""

    began_us: int
    ended_us: int = 0
    marked: int = 0
    """Families."""
    kept: int = 0
    """Families that were marked and are to stay after all."""
    executions: int = 0
    """Removed, all of the families."""
    rows: int = 0
    entries: int = 0
    """Of the cache, that nobody had used for long."""
    usage: Usage = Usage()
    """What was deleted from the blob store."""
    trouble: str = ""
    """Why it ended early."""


@dataclass(slots=True)
class Totals:
    """Of all passes of this process."""

    passes: int = 0
    failures: int = 0
    executions: int = 0
    rows: int = 0
    entries: int = 0
    usage: Usage = Usage()
    last: Pass | None = None
    """The last one that has ended."""
    now: Pass | None = None
    """The one under way."""

    def add(self, done: Pass) -> None:
        self.passes += 1
        self.failures += bool(done.trouble)
        self.executions += done.executions
        self.rows += done.rows
        self.entries += done.entries
        self.usage = self.usage.plus(done.usage)
        self.last, self.now = done, None


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's numbers: see `PropellerSettings`."""

    retention: Retention = field(default_factory=Retention)
    every_seconds: float = 1800.0
    delay_seconds: float = 3600.0
    rows: int = 1000


class Collector:
    """Collects in one shard during one term."""

    def __init__(
        self,
        store: GarbageStore,
        blob: BlobStore,
        clock: Clock,
        limits: Limits,
        totals: Totals,
        *,
        shard: int,
        epoch: int,
        leading: Callable[[], bool],
    ) -> None:
        """`leading` tells whether the lease still holds: no blob is deleted after that."""
        self._store = store
        self._blob = blob
        self._clock = clock
        self._limits = limits
        self._shard = shard
        self._epoch = epoch
        self._leading = leading
        self.totals = totals
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Begins a pass at once, or another one after the one under way."""
        self._asked.set()

    async def work(self) -> None:
        """Passes, for ever. Raises Fenced when another one leads."""
        pause = min(FIRST_SECONDS, self._limits.every_seconds)
        while True:
            await together.within(pause, self._asked.wait())
            self._asked.clear()
            await self.collect()
            pause = self._limits.every_seconds

    async def collect(self) -> Pass:
        """One pass. Trouble ends it early: the next one goes on. Raises Fenced."""
        done = self.totals.now = Pass(self._clock.now_us())
        try:
            await self._collect(done)
        except Fenced as error:
            done.trouble = error.message
            raise
        except AirscrewError as error:
            done.trouble = error.message
            logger.warning("the garbage collector stops for now: %s", error.message)
        finally:
            done.ended_us = self._clock.now_us()
            self.totals.add(done)
        if done.executions or done.entries:
            logger.info(
                "collected %d executions, %d rows, %d blobs (%d bytes), %d entries of the cache",
                *(done.executions, done.rows, *done.usage, done.entries),
            )
        return done

    async def _collect(self, done: Pass) -> None:
        await self._finish_all(done)
        if not self._limits.retention.enabled:
            return
        await self._expire(done)
        cutoffs = await self._store.read(candidates.cutoffs, self._limits.retention, done.began_us)
        for project, before_us in cutoffs.items():
            await self._mark(done, project, before_us, cutoffs)
        await self._condemn(done, cutoffs)

    # ------------------------------------------------------------------------------------------------------- marks

    async def _expire(self, done: Pass) -> None:
        """What nobody has used for long leaves the cache."""
        for project in await self._store.read(Garbage.projects):
            before_us = self._limits.retention.used_before_us(project, done.began_us)
            if before_us is not None:
                done.entries += await self._until_fewer(Garbage.expire_entries, project, before_us)
        await self._until_fewer(Garbage.expire_reservations, done.began_us - RESERVATION_US)

    async def _mark(self, done: Pass, project: str, before_us: int, cutoffs: Mapping[str, int]) -> None:
        after = candidates.BEGINNING
        limit = min(FAMILIES, self._limits.rows)
        while True:
            page, found = await self._store.read(
                candidates.to_mark, self._shard, project, before_us, after, limit, cutoffs
            )
            if not page:
                return
            after = page[-1]
            if found.free:
                done.marked += await self._write(Garbage.mark, found.free, self._clock.now_us())

    # --------------------------------------------------------------------------------------------- what really goes

    async def _condemn(self, done: Pass, cutoffs: Mapping[str, int]) -> None:
        """Looks again at what was marked long enough ago, and removes what still may go."""
        marked_before_us = done.began_us - round(self._limits.delay_seconds * 1e6)
        # A head is two rows in a commit, and those that depend on each other are condemned in one.
        most = self._limits.rows // 2
        after = 0
        while True:
            page = await self._store.read(Garbage.marked, self._shard, marked_before_us, after, min(FAMILIES, most))
            if not page:
                return
            after = page[-1]
            found = await self._store.read(candidates.check_together, page, cutoffs, marked_before_us, most)
            done.kept += len(found.staying)
            for part in _parts(found.staying, self._limits.rows):
                await self._write(Garbage.unmark, part)
            if found.free:
                await self._write(Garbage.condemn, found.free, self._clock.now_us())
                await self._finish_all(done)

    async def _finish_all(self, done: Pass) -> None:
        """Removes all that is condemned."""
        while heads := await self._store.read(Garbage.condemned, self._shard, FAMILIES):
            await self._finish(heads, done)

    async def _finish(self, heads: Sequence[int], done: Pass) -> None:
        families = await self._store.read(Garbage.families, heads)
        keys = sorted(key for family in families.values() for key in family)
        for part in _parts(keys, self._limits.rows):
            await self._write(Garbage.hide, part, self._clock.now_us())
        for part in _parts(keys, min(_MEMBERS, self._limits.rows)):
            await self._remove(part, done)
        await self._until_fewer(Garbage.release, heads)
        for part in _parts(heads, self._limits.rows):
            await self._write(Garbage.close_cases, part)

    async def _remove(self, keys: Sequence[int], done: Pass) -> None:
        """Blobs, then rows, then what the executions' own rows say."""
        members = [member for member in await self._store.read(Garbage.members, keys) if not member.buried]
        await self._delete_blobs(members, done)
        done.rows += await self._until_fewer(Garbage.erase, keys)
        await self._write(Garbage.bury, keys)
        done.executions += len(members)

    async def _delete_blobs(self, members: Sequence[Member], done: Pass) -> None:
        places = asyncio.Semaphore(DELETIONS)

        async def delete(uri: str) -> Usage | AirscrewError:
            async with places:
                if not self._leading():
                    return Fenced(f"shard {self._shard}: the lease is over")
                try:
                    return await self._blob.delete_prefix(uri)
                except AirscrewError as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(delete(uri), name=f"delete-blobs-{member.key}")
                for member in members
                for uri in places_of(self._blob.root, member)
            ]
        for task in tasks:
            answer = task.result()
            if isinstance(answer, AirscrewError):
                raise answer
            done.usage = done.usage.plus(answer)

    # ------------------------------------------------------------------------------------------------------------

    async def _write(self, work: Callable[..., T], heads: Collection[int], *more: Any) -> T:
        """One transaction, by the leader of this shard in this epoch."""
        return await self._store.write(work, self._shard, self._epoch, heads, *more)

    async def _until_fewer(self, work: Callable[..., int], *given: object) -> int:
        """Deletions of as many rows as one commit may have, until there is nothing left."""
        total = 0
        while True:
            count: int = await self._store.write(work, self._shard, self._epoch, *given, self._limits.rows)
            total += count
            if count < self._limits.rows:
                return total


def places_of(root: str, member: Member) -> Sequence[str]:
    """Where the blobs of an execution lie that are nobody's but the engine's to delete."""
    metadata, raw, logs = layout.execution_prefixes(root, member.id)
    try:
        spec = execution_pb2.ExecutionSpec.FromString(member.spec)
    except DecodeError:  # it never ran, so there is nothing; and if there is, nobody knows whose
        return metadata, logs
    own = spec.raw_output_data_config.output_location_prefix
    return (metadata, logs) if own else (metadata, raw, logs)


def _parts(keys: Collection[int], size: int) -> Iterator[Sequence[int]]:
    ordered = sorted(keys)
    return (ordered[first : first + size] for first in range(0, len(ordered), size))
