"""The same bench for every kind of ledger: what `admin` would do beside it, and what it has stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import pytest
import pytest_asyncio

from libs.store import clusters
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.query import Query
from libs.store.records import ExecutionRecord, LaunchPlanRecord, TaskRecord
from libs.store.registry import Registry
from libs.store.signals import Signals
from libs.workflow.identity import EntityId
from libs.workflow.state import AttemptState, Changes, ExecutionState, NodeState, RecordedEvent, SignalState, Snapshot
from tests.support import stored
from tests.support.memory_ledger import MemoryLedger, MemoryStore

T = TypeVar("T")


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """Of a leader that has just claimed: its epoch is 1."""
    ledger = Ledger(database_url)
    ledger.claim(0, "etcd-1", 10, "a", "a:1", 77)
    yield ledger
    ledger.close()


class Bench(Protocol):
    """One store, its ledger, and the other side's hand."""

    @property
    def ledger(self) -> Ledger | MemoryLedger: ...

    async def submit(self, *states: ExecutionState) -> None: ...

    async def request_abort(self, state: ExecutionState, cause: str) -> None: ...

    async def set_signal(self, state: ExecutionState, id: str, value: bytes) -> None: ...

    async def register(self, workflow: EntityId, closure: bytes) -> None: ...

    async def register_task(self, task: EntityId, closure: bytes) -> None: ...

    async def register_launch_plan(self, record: LaunchPlanRecord) -> None: ...

    def retire(self, cluster: str) -> None: ...

    async def nodes(self, key: int) -> Sequence[NodeState]: ...

    async def attempts(self, key: int) -> Sequence[AttemptState]: ...

    async def events(self, key: int) -> Sequence[RecordedEvent]: ...

    async def signals(self, key: int) -> Sequence[SignalState]: ...

    async def tagged(self, key: str, value: str) -> Sequence[int]:
        """Keys of the executions that have this label, or this tag and nothing."""


class MemoryBench:
    def __init__(self) -> None:
        self._store = MemoryStore()
        self.ledger = MemoryLedger(self._store)

    async def submit(self, *states: ExecutionState) -> None:
        for state in states:
            self._store.submit(state)

    async def request_abort(self, state: ExecutionState, cause: str) -> None:
        self._store.request_abort(state.key, cause)

    async def set_signal(self, state: ExecutionState, id: str, value: bytes) -> None:
        self._store.set_signal(state.key, id, value)

    async def register(self, workflow: EntityId, closure: bytes) -> None:
        self._store.register(workflow, closure)

    async def register_task(self, task: EntityId, closure: bytes) -> None:
        self._store.register_task(task, closure)

    async def register_launch_plan(self, record: LaunchPlanRecord) -> None:
        self._store.register_launch_plan(record)

    def retire(self, cluster: str) -> None:
        self._store.clusters[cluster] = True

    async def nodes(self, key: int) -> Sequence[NodeState]:
        return list(self._store.nodes[key].values())

    async def attempts(self, key: int) -> Sequence[AttemptState]:
        return list(self._store.attempts[key].values())

    async def events(self, key: int) -> Sequence[RecordedEvent]:
        return self._store.events[key]

    async def signals(self, key: int) -> Sequence[SignalState]:
        return [signal for _, signal in sorted(self._store.signals.get(key, {}).items())]

    async def tagged(self, key: str, value: str) -> Sequence[int]:
        return sorted(found for found, pairs in self._store.tags.items() if (key, value) in pairs)


class LoopLedger(Ledger):
    """Commits and loads on an event loop whatever it can; the loop has a thread of its own, for tests call and wait."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger-loop", daemon=True)
        self._thread.start()
        self.on_loop = 0
        """How many commits and loads needed no other thread."""

    def claim(self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int) -> int:
        # With SQLite, what has been asked for once is there from the next call on.
        assert self.call(self.load_on_loop(shard, [0])) is None
        return super().claim(shard, etcd_cluster, create_revision, holder, address, now_us)

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        if self.call(self.commit_on_loop(shard, epoch, batch)):
            self.on_loop += 1
        else:
            super().commit(shard, epoch, batch)

    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        found = self.call(self.load_on_loop(shard, keys))
        if found is None:
            return super().load(shard, keys)
        self.on_loop += 1
        return found

    def close(self) -> None:
        self.call(self._leave_loop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        super().close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _leave_loop(self) -> None:
        self.leave_loop()


class SqlBench:
    def __init__(self, url: str, ledger: type[Ledger] = Ledger) -> None:
        self._url = url
        self._engine = open_async(url)
        self._executions = Executions(self._engine)
        self.ledger = ledger(url)

    async def close(self) -> None:
        self.ledger.close()
        await self._engine.dispose()

    async def submit(self, *states: ExecutionState) -> None:
        records = [ExecutionRecord(state, stored.LAUNCH_PLAN, mode=0) for state in states]
        await asyncio.gather(*(self._executions.create(record) for record in records))

    async def request_abort(self, state: ExecutionState, cause: str) -> None:
        await self._executions.request_abort(state.id, cause, "")

    async def set_signal(self, state: ExecutionState, id: str, value: bytes) -> None:
        await Signals(self._engine).set_signal(state.id, id, value, "anna", 88)

    async def register_task(self, task: EntityId, closure: bytes) -> None:
        await Registry(self._engine).create_task(TaskRecord(task, "python-task", b"digest", b"spec", closure, 1))

    async def register_launch_plan(self, record: LaunchPlanRecord) -> None:
        await Registry(self._engine).create_launch_plan(record)

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

    async def signals(self, key: int) -> Sequence[SignalState]:
        found = (await Signals(self._engine).list_signals(Query(), key)).items
        return [SignalState(each.id, each.node_id, each.type, each.created_at_us) for each in found]

    async def tagged(self, key: str, value: str) -> Sequence[int]:
        filters = f"eq(execution_tag.key,{key})+eq(execution_tag.value,{value})"
        found = await self._executions.list(Query(filters=filters, sort_key="created_at", descending=False))
        return [each.execution.key for each in found.items]


@pytest_asyncio.fixture(params=["memory", "sqlite", "sqlite on a loop", "postgres", "postgres on a loop"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A store with its ledger: the test runs once on each kind."""
    if request.param == "memory":
        yield MemoryBench()
        return
    database, _, on_loop = request.param.partition(" ")
    sql = SqlBench(request.getfixturevalue(f"{database}_url"), LoopLedger if on_loop else Ledger)
    yield sql
    await sql.close()
