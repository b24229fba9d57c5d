"""The same bench for every kind of ledger: what `admin` would do beside it, and what it has stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pytest
import pytest_asyncio

from libs.store import clusters
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.records import ExecutionRecord
from libs.store.registry import Registry
from libs.workflow.identity import EntityId
from libs.workflow.state import AttemptState, ExecutionState, NodeState, RecordedEvent
from tests.support import stored
from tests.support.memory_ledger import MemoryLedger, MemoryStore


class Bench(Protocol):
    """One store, its ledger, and the other side's hand."""

    @property
    def ledger(self) -> Ledger | MemoryLedger: ...

    async def submit(self, *states: ExecutionState) -> None: ...

    async def request_abort(self, state: ExecutionState, cause: str) -> None: ...

    async def register(self, workflow: EntityId, closure: bytes) -> None: ...

    def retire(self, cluster: str) -> None: ...

    async def nodes(self, key: int) -> Sequence[NodeState]: ...

    async def attempts(self, key: int) -> Sequence[AttemptState]: ...

    async def events(self, key: int) -> Sequence[RecordedEvent]: ...


class MemoryBench:
    def __init__(self) -> None:
        self._store = MemoryStore()
        self.ledger = MemoryLedger(self._store)

    async def submit(self, *states: ExecutionState) -> None:
        for state in states:
            self._store.submit(state)

    async def request_abort(self, state: ExecutionState, cause: str) -> None:
        self._store.request_abort(state.key, cause)

    async def register(self, workflow: EntityId, closure: bytes) -> None:
        self._store.register(workflow, closure)

    def retire(self, cluster: str) -> None:
        self._store.clusters[cluster] = True

    async def nodes(self, key: int) -> Sequence[NodeState]:
        return list(self._store.nodes[key].values())

    async def attempts(self, key: int) -> Sequence[AttemptState]:
        return list(self._store.attempts[key].values())

    async def events(self, key: int) -> Sequence[RecordedEvent]:
        return self._store.events[key]


class SqlBench:
    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = open_async(url)
        self._executions = Executions(self._engine)
        self.ledger = Ledger(url)

    async def close(self) -> None:
        self.ledger.close()
        await self._engine.dispose()

    async def submit(self, *states: ExecutionState) -> None:
        records = [ExecutionRecord(state, stored.LAUNCH_PLAN, mode=0) for state in states]
        await asyncio.gather(*(self._executions.create(record) for record in records))

    async def request_abort(self, state: ExecutionState, cause: str) -> None:
        await self._executions.request_abort(state.id, cause, "")

    async def register(self, workflow: EntityId, closure: bytes) -> None:
        await Registry(self._engine).create_workflow(stored.compiled(workflow, closure))

    def retire(self, cluster: str) -> None:
        clusters.retire(self._url, cluster)

    async def nodes(self, key: int) -> Sequence[NodeState]:
        return (await self._executions.list_nodes(Query(), key)).items

    async def attempts(self, key: int) -> Sequence[AttemptState]:
        return [found.attempt for found in (await self._executions.list_attempts(Query(), key)).items]

    async def events(self, key: int) -> Sequence[RecordedEvent]:
        return await self._executions.events(key)


@pytest_asyncio.fixture(params=["memory", "sqlite", "postgres"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A store with its ledger: the test runs once on each kind."""
    if request.param == "memory":
        yield MemoryBench()
        return
    sql = SqlBench(request.getfixturevalue(f"{request.param}_url"))
    yield sql
    await sql.close()
