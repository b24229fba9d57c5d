"""Graphs that are forgotten while they are being built."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from libs.workflow.errors import Unavailable
from libs.workflow.identity import EntityId
from libs.workflow.quantities import Slots
from services.propeller import graphs
from services.propeller.graphs import Graphs
from tests.support.graphs import Plan, Step, closure_of, state_of

PLAN = Plan((Step("n0"),))
ANY = state_of(PLAN).workflow


@dataclass
class Store:
    """Has every workflow; `slow` is one that it gives, or does not, when it may `go`."""

    slow: EntityId
    error: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def program(self, workflow: EntityId) -> bytes:
        if workflow == self.slow:
            await self.go.wait()
            if self.error is not None:
                raise self.error
        return closure_of(PLAN).SerializeToString()


def version(name: str) -> EntityId:
    return ANY._replace(version=name)


async def forgotten_on_its_way(graphs: Graphs, store: Store) -> list[object]:
    """What becomes of two who want a graph that others push out while it is being built."""
    both = [asyncio.ensure_future(graphs.of_workflow(store.slow)) for _ in range(2)]
    await asyncio.sleep(0)  # until both wait
    for name in "abc":
        await graphs.of_workflow(version(name))
    store.go.set()
    async with asyncio.timeout(10):
        return list(await asyncio.gather(*both, return_exceptions=True))


@pytest.fixture(autouse=True)
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "GRAPHS_KEPT", 1)


async def test_a_graph_forgotten_on_its_way_fails_for_all_who_wait_for_it_and_is_built_again() -> None:
    store = Store(version("slow"), Unavailable("away"))
    it = Graphs(store, None, Slots())  # type: ignore[arg-type]  # as much of a store as is used
    assert await forgotten_on_its_way(it, store) == [store.error, store.error]
    store.error = None
    assert await it.of_workflow(store.slow) is it.known(store.slow)


async def test_a_graph_forgotten_on_its_way_is_given_to_all_who_wait_for_it() -> None:
    store = Store(version("slow"))
    it = Graphs(store, None, Slots())  # type: ignore[arg-type]  # as much of a store as is used
    first, second = await forgotten_on_its_way(it, store)
    assert first is second and not isinstance(first, BaseException)
