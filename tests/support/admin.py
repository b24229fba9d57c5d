"""A front door in a thread of its own, over a real database, directory and queue; and a stand-in for the leader.

flytekit's client blocks, so the door must not share the test's thread. What the propeller would do is written here by
hand, through the ledger and the queue's hints: the tests say what happened to an execution, and look at what clients
see.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from libs import blob
from libs.blob import BlobStore
from libs.clients.queue import Publisher
from libs.runtime.clock import SystemClock
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.telemetry.traces import Tracing
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import AttemptState, CacheEntry, Changes, ExecutionState, NodeState, SignalState
from protos import queue_pb2, queue_pb2_grpc
from services.admin import app
from services.admin.settings import AdminSettings
from tests.support import flyte
from tests.support.queue_server import QueueServer
from tests.support.spans import Kept

T = TypeVar("T")

SHARD = 0
START_SECONDS = 20.0


class Leader:
    """Commits what a propeller would, and publishes the hints."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._ledger = Ledger(door.database_url)
        self._epoch = self._ledger.claim(SHARD, "test-cluster", 1, "test", "127.0.0.1:1", self._now_us())

    def close(self) -> None:
        self._ledger.close()

    def load(self, name: str) -> ExecutionState:
        """The execution as it stands, by its name in the default project and domain."""
        record = self._door.run(self._door.find(name))
        return self._ledger.load(SHARD, [record])[0].execution

    def commit(
        self,
        state: ExecutionState,
        phase: ExecutionPhase | None = None,
        nodes: Sequence[NodeState] = (),
        attempts: Sequence[AttemptState] = (),
        signals: Sequence[SignalState] = (),
        cached: Sequence[CacheEntry] = (),
        children: Sequence[ExecutionState] = (),
        **changed: Any,
    ) -> None:
        """One turn."""
        now_us = self._now_us()
        state.updated_at_us = now_us
        state.observed_generation = state.intent.generation
        if phase is not None:
            state.phase = phase
            state.started_at_us = state.started_at_us or now_us
            state.ended_at_us = now_us if phase.terminal else None
        for field, value in changed.items():
            setattr(state, field, value)
        for node in nodes:
            node.updated_at_us = now_us
        changes = Changes(
            state,
            execution_changed=True,
            nodes={node.id: node for node in nodes},
            attempts={(attempt.node_id, attempt.attempt): attempt for attempt in attempts},
            signals=list(signals),
            cached=list(cached),
            children=list(children),
        )
        self._ledger.commit(SHARD, self._epoch, [changes])
        self._door.publish(state.key, state.phase)

    def node(self, id: str, phase: NodePhase, kind: NodeKind = NodeKind.TASK, **changed: Any) -> NodeState:
        """A node at the top level that has come to this phase just now."""
        now_us = self._now_us()
        state = NodeState(
            id=id,
            spec_id=id,
            parent_id="",
            kind=kind,
            phase=phase,
            created_at_us=now_us,
            queued_at_us=now_us,
            started_at_us=now_us,
            ended_at_us=now_us if phase.terminal else None,
        )
        for field, value in changed.items():
            setattr(state, field, value)
        return state

    def attempt(self, node_id: str, number: int, phase: AttemptPhase, **changed: Any) -> AttemptState:
        """An attempt that has come to this phase just now."""
        now_us = self._now_us()
        state = AttemptState(
            node_id=node_id,
            attempt=number,
            phase=phase,
            created_at_us=now_us,
            started_at_us=now_us,
            updated_at_us=now_us,
            ended_at_us=now_us if phase.terminal else None,
            executor="executor-1",
        )
        for field, value in changed.items():
            setattr(state, field, value)
        return state

    def _now_us(self) -> int:
        return SystemClock().now_us()


class Door:
    """The running front door."""

    def __init__(self, database_url: str, directory: Path, settings: dict[str, Any]) -> None:
        self.database_url = database_url
        self.blob: BlobStore = blob.open(str(directory / "blobs"))
        self.queue = QueueServer()
        self.spans = Kept()
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="admin", daemon=True)
        self._stop = asyncio.Event()
        self._open: asyncio.Future[app.Addresses] = self._loop.create_future()

    def start(self) -> None:
        self._thread.start()
        self._life = asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        addresses = asyncio.run_coroutine_threadsafe(self._opened(), self._loop).result(START_SECONDS)
        self.endpoint, self.http = addresses.grpc, addresses.http

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._life.result(START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    @property
    def queued(self) -> int:
        """Keys that the queue service has taken in so far."""
        with grpc.insecure_channel(self.queue.address) as channel:
            stats = queue_pb2_grpc.QueueStub(channel).Stats(queue_pb2.StatsRequest(), timeout=10)
        return sum(shard.added for shard in stats.shards)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the door's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    def publish(self, key: int, phase: ExecutionPhase) -> None:
        self._loop.call_soon_threadsafe(self._publisher.publish, [(key, int(phase))])

    async def find(self, name: str) -> int:
        """Key of an execution in the default project and domain."""
        engine = open_async(self.database_url)
        try:
            record = await Executions(engine).get(ExecutionId(flyte.PROJECT, flyte.DOMAIN, name))
        finally:
            await engine.dispose()
        return record.execution.key

    async def _opened(self) -> app.Addresses:
        await asyncio.wait((self._open,))
        return self._open.result()

    async def _live(self) -> None:
        await self.queue.start()
        settings = AdminSettings(
            database=self.database_url,
            blob=self.blob.root,
            queue=self.queue.address,
            signing_key="a signing key for tests",
            listen="127.0.0.1:0",
            http_listen="127.0.0.1:0",
            **self._settings,
        )
        try:
            async with (
                Publisher(self.queue.address) as self._publisher,
                app.running(settings, SystemClock(), Tracing(self.spans)) as addresses,
            ):
                self._open.set_result(addresses)
                await self._stop.wait()
        finally:
            await self.queue.stop()


@contextmanager
def door(database_url: str, directory: Path, **settings: Any) -> Iterator[Door]:
    """A front door for the length of the block; `settings` replace those of `AdminSettings`."""
    opened = Door(database_url, directory, settings)
    opened.start()
    try:
        yield opened
    finally:
        opened.stop()


@pytest.fixture
def admin(database_url: str, tmp_path: Path) -> Iterator[Door]:
    """A front door, once on each kind of database."""
    with door(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def sqlite_admin(sqlite_url: str, tmp_path: Path) -> Iterator[Door]:
    """A front door on SQLite, where the kind of database makes no difference."""
    with door(sqlite_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def leading(admin: Door) -> Iterator[Leader]:
    """The leader's stand-in at the same database."""
    leader = Leader(admin)
    yield leader
    leader.close()


@pytest.fixture
def user(admin: Door, tmp_path: Path) -> flyte.Client:
    """A user of the front door."""
    return flyte.Client(admin.endpoint, tmp_path / "home")
