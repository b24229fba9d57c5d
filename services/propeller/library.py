"""The executions that the leader has in memory.

The leader is the only writer of its shard, so what is in memory is the truth until a commit fails; then the execution
is forgotten and read again. Finished executions leave at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

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

    async def read(self, keys: Sequence[int]) -> dict[int, Snapshot | Exception]:
        """What the store has of these executions, in one read. Those that do not exist, or are final, are left out;
        for one whose rows make no sense there is the reason.

        Raises Unavailable.
        """
        try:
            snapshots = await self._store.load(self._shard, keys)
        except Unavailable:
            raise
        except Exception as error:
            if len(keys) == 1:
                return {keys[0]: error}
            # Somebody's rows make no sense: the others have nothing to do with it.
            each = [await self.read([key]) for key in keys]
            return {key: found for one in each for key, found in one.items()}
        found: dict[int, Snapshot | Exception] = {}
        for snapshot in snapshots:
            if snapshot.execution.phase.terminal:
                self._on_final(snapshot.execution)
            else:
                found[snapshot.execution.key] = snapshot
        return found

    def restore(self, snapshot: Snapshot) -> Execution | None:
        """Puts an execution together that needs nothing but what is at hand; None when it has to be loaded."""
        graph = self._graphs.known(snapshot.execution.workflow)
        if graph is None or len(snapshot.nodes) > _MANY_NODES or (snapshot.nodes and _dynamic(snapshot)):
            return None
        return self._keep(restore(snapshot, graph))

    async def load(self, snapshot: Snapshot) -> Execution:
        """Puts an execution together, with whatever has to be read and made for it.

        Raises Unavailable, or something else when its rows, its workflow or the graph of a dynamic node make no sense.
        """
        graph = await self._graphs.of_workflow(snapshot.execution.workflow)
        dynamics = await self._dynamic_graphs(_dynamic(snapshot))
        if len(snapshot.nodes) > _MANY_NODES:
            return self._keep(await asyncio.to_thread(restore, snapshot, graph, dynamics))
        return self._keep(restore(snapshot, graph, dynamics))

    def _keep(self, execution: Execution) -> Execution:
        self._executions[execution.state.key] = execution
        return execution

    async def _dynamic_graphs(self, uris: Sequence[str]) -> dict[str, Graph]:
        """By uri of their closures, the graphs of dynamic nodes that are under way."""
        if not uris:
            return {}
        places = asyncio.Semaphore(_READS)

        async def read(uri: str) -> Graph:
            async with places:
                return await self._graphs.stored(uri)

        return dict(zip(uris, await asyncio.gather(*map(read, uris)), strict=True))


def _dynamic(snapshot: Snapshot) -> Sequence[str]:
    """The closures of the dynamic nodes that are under way."""
    return list(
        {
            node.closure_uri: None
            for node in snapshot.nodes
            if node.closure_uri is not None and node.kind is NodeKind.TASK and not node.phase.terminal
        }
    )
