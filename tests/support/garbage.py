"""A store with finished executions, their rows in every table and their blobs, and a collector that works on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest_asyncio
from flyteidl.admin import execution_pb2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from libs import blob
from libs.blob import BlobStore, layout
from libs.store import schema
from libs.store.engine import reading
from libs.store.executions import Executions
from libs.store.garbage import Garbage
from libs.store.holds import Execute
from libs.store.ledger import Ledger
from libs.store.ledger_sqlite import SqliteLedger
from libs.store.records import CacheRequest, ProjectRecord
from libs.store.registry import Registry
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.state import CacheEntry, Changes, Data, ExecutionState, RecordedEvent, SignalState
from services.propeller.garbage.collector import Collector, Limits, Totals
from services.propeller.garbage.retention import DAY_US, Retention
from services.propeller.garbage.store import GarbageStore
from tests.support import stored

PROJECT = "flytesnacks"


class Counting(Garbage):
    """Counts the rows of each transaction, and how long it held the database. SQLite only."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.rows: list[int] = []
        self.seconds: list[float] = []

    @contextmanager
    def _fenced(self, shard: int, epoch: int) -> Iterator[Execute]:
        with super()._fenced(shard, epoch) as execute:
            connection = cast(SqliteLedger, self._database)._connected()
            before, began = connection.total_changes, time.perf_counter()
            yield execute
            self.rows.append(connection.total_changes - before)
        self.seconds.append(time.perf_counter() - began)


TABLES = ("nodes", "attempts", "events", "signals", "execution_tags", "cache_entries")
NOW_US = 1_000 * DAY_US


@dataclass
class FixedClock:
    """Stands still until it is moved."""

    us: int = NOW_US

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return time.monotonic()


class Yard:
    """Executions at the end of their lives. Times are days before `clock` began."""

    def __init__(self, url: str, engine: AsyncEngine, blobs: BlobStore) -> None:
        self.url = url
        self.engine = engine
        self.blobs = blobs
        self.clock = FixedClock()
        self.executions = Executions(engine)
        self.ledger = Ledger(url)
        self.epoch = 0
        self.totals = Totals()
        self._stores: list[GarbageStore] = []
        self.known: dict[str, ExecutionState] = {}
        self._keys = 0

    async def open(self, *projects: str) -> Yard:
        registry = Registry(self.engine)
        for project in projects:
            await registry.create_project(ProjectRecord(project, project, "", b"", 0, 1))
        self.take_over()
        return self

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        self.ledger.close()
        await self.executions.close()

    def take_over(self) -> None:
        """Somebody leads in a new epoch."""
        self.epoch = self.ledger.claim(0, "cluster", self.epoch + 1, "leader", "here", 1)

    def collector(
        self,
        retention: Retention | None = None,
        *,
        delay_days: float = 0,
        rows: int = 1000,
        open_garbage: Callable[[], Garbage] | None = None,
        leading: Callable[[], bool] = lambda: True,
    ) -> Collector:
        store = GarbageStore(open_garbage or (lambda: Garbage(self.url)))
        self._stores.append(store)
        limits = Limits(retention or Retention(days={"*": 30}), delay_seconds=delay_days * 86_400, rows=rows)
        return Collector(store, self.blobs, self.clock, limits, self.totals, shard=0, epoch=self.epoch, leading=leading)

    async def begin(
        self,
        name: str,
        *,
        project: str = PROJECT,
        parent: ExecutionState | None = None,
        recovers: ExecutionState | None = None,
        names: Collection[ExecutionState] = (),
        raw_prefix: str = "",
        **more: Any,
    ) -> ExecutionState:
        """Submits one, as `admin` does."""
        self._keys += 1
        spec = execution_pb2.ExecutionSpec()
        spec.launch_plan.name = "plan"
        spec.raw_output_data_config.output_location_prefix = raw_prefix
        state = stored.execution(
            self._keys,
            id=ExecutionId(project, "development", name),
            spec=spec.SerializeToString(),
            parent_key=parent.key if parent else None,
            recovers_key=recovers.key if recovers else None,
            **more,
        )
        self.known[name] = state
        record = stored.record(state.key)
        named = frozenset(each.id for each in names)
        await self.executions.create(replace(record, execution=state, names=named), [("label", name)])
        return state

    async def add_many(self, count: int, days_ago: float, *, nodes: int = 1, blobs: bool = False) -> None:
        """Finished ones, quickly; with an attempt and two lines of their story for each node."""
        first = self._keys + 1
        states = [stored.execution(key, spec=b"") for key in range(first, first + count)]
        self._keys += count
        await self.executions.create_many([(replace(stored.record(1), execution=state), ()) for state in states])
        for start in range(0, count, 500):
            self.ledger.commit(
                0, self.epoch, [self._ended(state, days_ago, nodes) for state in states[start : start + 500]]
            )
            if blobs:
                await asyncio.gather(*map(self.write_blobs, states[start : start + 500]))

    def _ended(self, state: ExecutionState, days_ago: float, nodes: int) -> Changes:
        changes = stored.ended(state)
        state.ended_at_us = NOW_US - round(days_ago * DAY_US)
        for number in range(nodes):
            node = stored.node(f"n{number}", phase=NodePhase.SUCCEEDED, outputs=Data.of(b"outputs" * 10))
            changes.nodes[node.id] = node
            changes.attempts[node.id, 0] = stored.attempt(node.id, phase=AttemptPhase.SUCCEEDED)
            changes.events += [RecordedEvent(1, "NodeQueued", node.id), RecordedEvent(2, "NodeSucceeded", node.id)]
        return changes

    def run(self, state: ExecutionState, days_ago: float | None, *, caches: bytes = b"") -> None:
        """Gives it a node with an attempt, a story and a signal; it has ended so long ago, or lives on."""
        final = days_ago is not None
        ended_us = NOW_US - round((days_ago or 0) * DAY_US)
        node = stored.node(phase=NodePhase.SUCCEEDED, outputs=Data.of(b"outputs"), cache_key=caches or None)
        attempt = stored.attempt(phase=AttemptPhase.SUCCEEDED)
        changes = stored.ended(state) if final else stored.running(state)
        state.ended_at_us = ended_us if final else None
        changes.nodes[node.id] = node
        changes.attempts[node.id, attempt.attempt] = attempt
        changes.events.append(RecordedEvent(1, "NodeSucceeded", node.id))
        changes.signals.append(SignalState("s", node.id, b"", 1))
        if caches:
            assert node.outputs is not None
            changes.cached.append(CacheEntry(caches, stored.TASK, node.outputs, node.id, 0, ended_us))
        self.ledger.commit(0, self.epoch, [changes])

    def end(self, state: ExecutionState, days_ago: float) -> None:
        """What was running has ended."""
        changes: Changes = stored.ended(state, ExecutionPhase.SUCCEEDED)
        state.ended_at_us = NOW_US - round(days_ago * DAY_US)
        self.ledger.commit(0, self.epoch, [changes])

    def hit(self, state: ExecutionState, key: bytes) -> bool:
        """Whether it finds something in the cache."""
        (answer,) = self.ledger.look_up_cache([CacheRequest(key, state.key, "n0", False)], self.clock.us)
        return answer.outputs is not None

    async def write_blobs(self, state: ExecutionState) -> None:
        for number, place in enumerate(layout.execution_prefixes(self.blobs.root, state.id)):
            await self.blobs.write(f"{place}/n0/{number}", b"x" * 10)

    async def add(
        self,
        name: str,
        days_ago: float | None,
        *,
        caches: bytes = b"",
        launches: Mapping[str, float] = {},
        **more: Any,
    ) -> ExecutionState:
        """A whole one, with blobs, and with what it has launched: names, and how long ago they ended."""
        state = await self.begin(name, **more)
        for child, ended in launches.items():
            await self.add(child, ended, parent=state)
        self.run(state, days_ago, caches=caches)
        await self.write_blobs(state)
        return state

    # --------------------------------------------------------------------------------------------- what there is

    async def names(self) -> set[str]:
        """Of executions that clients see."""
        wanted = select(schema.executions.c.name).where(schema.executions.c.collected_at_us.is_(None))
        async with reading(self.engine) as connection:
            return set((await connection.execute(wanted)).scalars())

    async def owners(self) -> dict[str, set[int]]:
        """By table, the keys of executions that have rows there."""
        found = {}
        async with reading(self.engine) as connection:
            for name in TABLES:
                column = schema.metadata.tables[name].c.execution_key
                found[name] = set((await connection.execute(select(column).distinct())).scalars())
        return found

    async def count(self, table: str) -> int:
        async with reading(self.engine) as connection:
            found = await connection.scalar(select(func.count()).select_from(schema.metadata.tables[table]))
        return int(found or 0)

    async def places(self) -> set[str]:
        """Names of executions that have blobs."""
        uris = await self.blobs.list(self.blobs.root)
        return {segment for uri in uris for segment in uri.split("/") if "-development-" in segment}

    async def require_only(self, states: Sequence[ExecutionState], tables: Collection[str] = TABLES[:-1]) -> None:
        """Exactly these are there, whole: for clients, in every table, and in the blob store."""
        assert await self.names() == {state.id.name for state in states}
        owners = await self.owners()
        for table in tables:
            assert owners[table] == {state.key for state in states}, table
        assert await self.places() == {f"{s.id.project}-{s.id.domain}-{s.id.name}" for s in states}


@pytest_asyncio.fixture
async def yard(database_url: str, engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Yard]:
    """With blobs in a directory."""
    made = await Yard(database_url, engine, blob.open(str(tmp_path / "blobs"))).open(PROJECT, "other")
    yield made
    await made.close()
