"""The executions that the leader has in memory.

The leader is the only writer of its shard, so what is in memory is the truth until a commit fails; then the execution
is forgotten and read again. Finished executions leave at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from libs.workflow.errors import Unavailable
from libs.workflow.graph import Graph
from libs.workflow.machine import Execution, restore
from libs.workflow.phases import NodeKind
from libs.workflow.state import ExecutionState, Snapshot
from services.propeller.graphs import Graphs
from services.propeller.store import LeaderStore

_MANY_NODES = 2_000
"""Executions with more rows are put together in a thread: a hundred thousand take seconds, in which everybody else
would wait."""
_READS = 16
"""How many graphs of one execution's dynamic nodes are read at a time."""


class Library:
    """Executions by key. Not thread-safe: belongs to the event loop."""

    def __init__(
        self, store: LeaderStore, shard: int, graphs: Graphs, on_final: Callable[[ExecutionState], None]
    ) -> None:
        """`on_final` is told of each execution that turns out to be final when it is read."""
        self._store = store
        self._shard = shard
        self._graphs = graphs
        self._on_final = on_final
        self._executions: dict[int, Execution] = {}
        self._asked: dict[int, asyncio.Future[Snapshot | None]] = {}
        self._reading = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._executions)

    def all(self) -> Iterable[Execution]:
        """Valid until something is read or forgotten."""
        return self._executions.values()

    def get(self, key: int) -> Execution | None:
        return self._executions.get(key)

    def forget(self, key: int) -> None:
        """It leaves memory, and is of no use to who still has it."""
        execution = self._executions.pop(key, None)
        if execution is not None:
            execution.dissolve()

    async def load(self, key: int) -> Execution | None:
        """Reads an execution from the store; None when there is none, or it is final.

        Raises Unavailable, or something else when its rows, its workflow or the graph of a dynamic node make no sense.
        """
        snapshot = await self._snapshot(key)
        if snapshot is None:
            return None
        if snapshot.execution.phase.terminal:
            self._on_final(snapshot.execution)
            return None
        graph = await self._graphs.of_workflow(snapshot.execution.workflow)
        dynamics = await self._dynamic_graphs(snapshot)
        if len(snapshot.nodes) > _MANY_NODES:
            execution = await asyncio.to_thread(restore, snapshot, graph, dynamics)
        else:
            execution = restore(snapshot, graph, dynamics)
        self._executions[key] = execution
        return execution

    async def _dynamic_graphs(self, snapshot: Snapshot) -> dict[str, Graph]:
        """By uri of their closures, the graphs of dynamic nodes that are under way."""
        uris = {
            node.closure_uri: None
            for node in snapshot.nodes
            if node.closure_uri is not None and node.kind is NodeKind.TASK and not node.phase.terminal
        }
        if not uris:
            return {}
        places = asyncio.Semaphore(_READS)

        async def read(uri: str) -> Graph:
            async with places:
                return await self._graphs.stored(uri)

        return dict(zip(uris, await asyncio.gather(*map(read, uris)), strict=True))

    async def _snapshot(self, key: int) -> Snapshot | None:
        """One read at a time serves all who ask meanwhile: whoever gets the lock first reads for those behind it."""
        answer: asyncio.Future[Snapshot | None] = asyncio.get_running_loop().create_future()
        self._asked[key] = answer
        async with self._reading:
            if not answer.done():
                asked, self._asked = self._asked, {}
                await self._answer(asked)
        return answer.result()

    async def _answer(self, asked: dict[int, asyncio.Future[Snapshot | None]]) -> None:
        try:
            found = {snapshot.execution.key: snapshot for snapshot in await self._store.load(self._shard, list(asked))}
        except BaseException as error:
            if len(asked) > 1 and isinstance(error, Exception) and not isinstance(error, Unavailable):
                # Somebody's rows make no sense: the others have nothing to do with it.
                for key, answer in asked.items():
                    await self._answer({key: answer})
                return
            for answer in asked.values():
                if isinstance(error, Exception):
                    answer.set_exception(error)
                    answer.exception()  # marks it as seen: whoever asked may have been cancelled
                else:
                    answer.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for key, answer in asked.items():
                answer.set_result(found.get(key))
