"""The executions that the leader has in memory, and the graphs that they share.

The leader is the only writer of its shard, so what is in memory is the truth until a commit fails; then the execution
is forgotten and read again. Finished executions leave at once. Graphs are built once per workflow version.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from flyteidl.core import compiler_pb2

from libs.workflow.errors import Unavailable
from libs.workflow.graph import Graph, build
from libs.workflow.identity import EntityId
from libs.workflow.machine import Execution, restore
from libs.workflow.quantities import Slots
from libs.workflow.state import Snapshot
from services.propeller.store import LeaderStore

GRAPHS_KEPT = 1000
"""Graphs of versions that are not in use are forgotten beyond this number."""


class Library:
    """Executions by key. Not thread-safe: belongs to the event loop."""

    def __init__(self, store: LeaderStore, shard: int, default_slots: Slots) -> None:
        self._store = store
        self._shard = shard
        self._default_slots = default_slots
        self._executions: dict[int, Execution] = {}
        self._graphs: OrderedDict[EntityId, asyncio.Future[Graph]] = OrderedDict()
        self._asked: dict[int, asyncio.Future[Snapshot | None]] = {}
        self._reading = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._executions)

    def get(self, key: int) -> Execution | None:
        return self._executions.get(key)

    def forget(self, key: int) -> Execution | None:
        return self._executions.pop(key, None)

    async def load(self, key: int) -> Execution | None:
        """Reads an execution from the store; None when there is none, or it is final.

        Raises Unavailable, or Internal when its rows or its workflow make no sense.
        """
        snapshot = await self._snapshot(key)
        if snapshot is None or snapshot.execution.phase.terminal:
            return None
        execution = restore(snapshot, await self._graph(snapshot.execution.workflow))
        self._executions[key] = execution
        return execution

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

    async def _graph(self, workflow: EntityId) -> Graph:
        """Built at most once at a time; a failure is not remembered."""
        known = self._graphs.get(workflow)
        if known is None:
            known = self._graphs[workflow] = asyncio.get_running_loop().create_future()
            try:
                known.set_result(await self._build(workflow))
            except BaseException as error:
                del self._graphs[workflow]
                if isinstance(error, Exception):
                    known.set_exception(error)
                    known.exception()  # whoever waits gets it too; nobody has to
                else:
                    known.cancel()
                raise
        self._graphs.move_to_end(workflow)
        while len(self._graphs) > GRAPHS_KEPT:
            self._graphs.popitem(last=False)
        return await asyncio.shield(known)

    async def _build(self, workflow: EntityId) -> Graph:
        closure = compiler_pb2.CompiledWorkflowClosure.FromString(await self._store.program(workflow))
        return build(closure, self._default_slots)
