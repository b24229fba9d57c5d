"""The leader's way to the store: synchronous ledgers, each on a thread of its own.

Commits have a thread and a connection to themselves, so that nothing stands before them; reads (taking over, cold keys,
intents, the sweep) share another. The cache has a third one: a look-up may write a reservation and then waits, on
SQLite, for the only write lock there is. Among the commits it would wait for all that stand before it and hold up those
behind; among the reads it would hold up the intents.

Commits, and looks at new executions, take the event loop's own way where they can, for that to a thread and back would
take as long again (`Ledger.commit_on_loop`, `Ledger.load_on_loop`).

A call that is cancelled goes on to the end, in its thread or in the server, so the outcome of a cancelled commit is
unknown, like that of one that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from libs.store.records import CacheAnswer, CacheRequest, Final, LaunchPlanRecord
from libs.workflow.identity import EntityId
from libs.workflow.phases import ExecutionPhase
from libs.workflow.state import Changes, Intent, Snapshot

T = TypeVar("T")


class Ledger(Protocol):
    """What the propeller needs of `libs.store.ledger.Ledger`: one connection, used by one thread."""

    def claim(
        self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int
    ) -> int: ...

    def renew(self, shard: int) -> int: ...

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None: ...

    async def commit_on_loop(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool: ...

    def quarantine(self, shard: int, epoch: int, key: int, reason: str, now_us: int) -> None: ...

    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]: ...

    async def load_on_loop(self, shard: int, keys: Sequence[int]) -> list[Snapshot] | None: ...

    def intents(self, keys: Sequence[int]) -> dict[int, Intent]: ...

    def due(self, shard: int, now_us: int, limit: int, *, new: bool = True) -> list[int]: ...

    def live(self, shard: int, after_key: int, limit: int, *, new: bool = True) -> list[int]: ...

    def levels(self, shard: int) -> dict[tuple[str, str, ExecutionPhase], int]: ...

    def program(self, workflow: EntityId) -> bytes: ...

    def finals(self, keys: Sequence[int]) -> dict[int, Final]: ...

    def tasks(self, ids: Sequence[EntityId]) -> dict[EntityId, bytes]: ...

    def launch_plans(self, ids: Sequence[EntityId]) -> dict[EntityId, LaunchPlanRecord]: ...

    def look_up_cache(self, requests: Sequence[CacheRequest], now_us: int) -> list[CacheAnswer]: ...

    def check_schema(self) -> None: ...

    def prepare(self) -> None: ...

    def leave_loop(self) -> None: ...

    def close(self) -> None: ...


class LeaderStore:
    """Asynchronous faces of the ledgers. Errors are those of the ledger: Fenced, Unavailable, Refused, NotFound."""

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._open = open_ledger
        self._writer = _Thread("ledger-writer")
        self._reader = _Thread("ledger-reader")
        self._cache = _Thread("ledger-cache")

    async def claim(
        self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int
    ) -> int:
        """Claims the shard; see `Ledger.claim`. Returns the epoch."""
        return await self._writer.call(
            self._open,
            lambda ledger: ledger.claim(shard, etcd_cluster, create_revision, holder, address, now_us),
        )

    async def renew(self, shard: int) -> int:
        """Raises the epoch, so that no commit of unknown outcome can still happen; see `Ledger.renew`."""
        return await self._writer.call(self._open, lambda ledger: ledger.renew(shard))

    async def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        """See `Ledger.commit`."""
        ledger = self._writer.ledger
        if ledger is not None and await ledger.commit_on_loop(shard, epoch, batch):
            return
        await self._writer.call(self._open, lambda ledger: ledger.commit(shard, epoch, batch))

    async def quarantine(self, shard: int, epoch: int, key: int, reason: str, now_us: int) -> None:
        await self._writer.call(self._open, lambda ledger: ledger.quarantine(shard, epoch, key, reason, now_us))

    async def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        """See `Ledger.load`."""
        ledger = self._writer.ledger  # it has what is needed for that already
        if ledger is not None:
            found = await ledger.load_on_loop(shard, keys)
            if found is not None:
                return found
        return await self._reader.call(self._open, lambda ledger: ledger.load(shard, keys))

    async def intents(self, keys: Sequence[int]) -> dict[int, Intent]:
        return await self._reader.call(self._open, lambda ledger: ledger.intents(keys))

    async def due(self, shard: int, now_us: int, limit: int, *, new: bool = True) -> list[int]:
        return await self._reader.call(self._open, lambda ledger: ledger.due(shard, now_us, limit, new=new))

    async def live(self, shard: int, after_key: int, limit: int, *, new: bool = True) -> list[int]:
        return await self._reader.call(self._open, lambda ledger: ledger.live(shard, after_key, limit, new=new))

    async def levels(self, shard: int) -> dict[tuple[str, str, ExecutionPhase], int]:
        """How many live executions there are, by project, domain and phase."""
        return await self._reader.call(self._open, lambda ledger: ledger.levels(shard))

    async def program(self, workflow: EntityId) -> bytes:
        """The serialized CompiledWorkflowClosure of a registered workflow."""
        return await self._reader.call(self._open, lambda ledger: ledger.program(workflow))

    async def finals(self, keys: Sequence[int]) -> dict[int, Final]:
        """How those of these executions that have ended have ended."""
        return await self._reader.call(self._open, lambda ledger: ledger.finals(keys))

    async def tasks(self, ids: Sequence[EntityId]) -> dict[EntityId, bytes]:
        """The serialized TaskClosure of those of these tasks that are registered."""
        return await self._reader.call(self._open, lambda ledger: ledger.tasks(ids))

    async def launch_plans(self, ids: Sequence[EntityId]) -> dict[EntityId, LaunchPlanRecord]:
        """Those of these launch plans that are registered."""
        return await self._reader.call(self._open, lambda ledger: ledger.launch_plans(ids))

    async def look_up_cache(self, requests: Sequence[CacheRequest], now_us: int) -> list[CacheAnswer]:
        """What the cache has, and who may compute what it has not; see `Ledger.look_up_cache`."""
        return await self._cache.call(self._open, lambda ledger: ledger.look_up_cache(requests, now_us))

    async def check_schema(self) -> None:
        """Raises FailedPrecondition unless the tables are those of this version."""
        await self._reader.call(self._open, lambda ledger: ledger.check_schema())

    async def prepare(self) -> None:
        """Makes the database quick for whoever will lead; see `Ledger.prepare`."""
        await self._reader.call(self._open, lambda ledger: ledger.prepare())

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()
        await self._cache.close()


class _Thread:
    """A thread that owns a ledger, which it opens when it is first needed."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.ledger: Ledger | None = None
        """None before the first call."""

    async def call(self, open_ledger: Callable[[], Ledger], work: Callable[[Ledger], T]) -> T:
        def run() -> T:
            if self.ledger is None:
                self.ledger = open_ledger()
            return work(self.ledger)

        return await asyncio.get_running_loop().run_in_executor(self._executor, run)

    async def close(self) -> None:
        def run() -> None:
            if self.ledger is not None:
                self.ledger.close()

        if self.ledger is not None:
            self.ledger.leave_loop()

        await asyncio.get_running_loop().run_in_executor(self._executor, run)
        self._executor.shutdown(wait=False)
