"""Executions that are not in memory: who shares a read with whom, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from libs.runtime.clock import SystemClock
from libs.workerpool import WorkerPool
from libs.workflow.errors import Unavailable
from libs.workflow.machine import Execution
from libs.workflow.state import Snapshot
from services.propeller.arrivals import Arrivals
from tests.support.graphs import Plan, Step, execution_of, state_of
from tests.support.waiting import until

PLAN = Plan((Step("n0"),))
WORKERS = 4


@dataclass
class Library:
    """Reads executions below 100, of which those from 10 on need more than that; `go` lets it."""

    reads: list[list[int]] = field(default_factory=list)
    away: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    built: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, keys: Sequence[int]) -> dict[int, Snapshot | Exception]:
        self.reads.append(list(keys))
        await self.go.wait()
        if self.away:
            raise self.away
        return {
            key: ValueError("13 makes no sense") if key == 13 else Snapshot(state_of(PLAN, key=key), [], [])
            for key in keys
            if key < 100
        }

    def restore(self, snapshot: Snapshot) -> Execution | None:
        return execution_of(PLAN, key=snapshot.execution.key) if snapshot.execution.key < 10 else None

    async def load(self, snapshot: Snapshot) -> Execution:
        await self.built.wait()
        return execution_of(PLAN, key=snapshot.execution.key)


@dataclass
class Wanting:
    """Somebody who wants executions, and what becomes of that."""

    library: Library = field(default_factory=Library)
    pool: WorkerPool = field(default_factory=lambda: WorkerPool(WORKERS))
    begun: dict[int, Execution | None] = field(default_factory=dict)
    failed: dict[int, Exception] = field(default_factory=dict)
    comes: bool = True
    """Whether anybody comes for what has been read."""

    def __post_init__(self) -> None:
        self.arrivals = Arrivals(
            self.library,  # type: ignore[arg-type]  # as much of it as is used
            self.pool,
            SystemClock(),
            self.begin,
            self.failed.__setitem__,
            self.go_round,
            lambda: self.pool.waiting_queue_size > 0,
        )

    def begin(self, key: int, execution: Execution | None, now_us: int) -> None:
        assert key not in self.begun
        self.begun[key] = execution

    def go_round(self) -> None:
        if self.comes and len(self.arrivals):
            self.pool.submit(self.come)

    async def come(self) -> None:
        self.arrivals.begin_next(0)
        self.go_round()

    def want(self, *keys: int) -> None:
        for key in keys:
            self.arrivals.ask(key)


async def test_what_is_asked_for_during_a_read_shares_the_next_one() -> None:
    async with (it := Wanting()).pool:
        it.want(1)
        await until(lambda: it.library.reads)
        it.want(2, 3)
        await asyncio.sleep(0)
        it.library.go.set()
        await until(lambda: len(it.begun) == 3)
    assert it.library.reads == [[1], [2, 3]]
    assert all(execution is not None and execution.state.key == key for key, execution in it.begun.items())


async def test_nothing_more_is_asked_for_when_as_many_are_on_their_way_as_there_are_workers() -> None:
    async with (it := Wanting()).pool:
        it.want(1)
        await until(lambda: it.library.reads)
        it.want(2, 3)
        await asyncio.sleep(0)
        assert not it.arrivals.full
        it.want(4)
        await until(lambda: it.arrivals.full)
        it.library.go.set()
        await until(lambda: len(it.begun) == 4)
        assert not it.arrivals.full


async def test_the_next_read_does_not_wait_until_what_was_read_has_begun() -> None:
    async with (it := Wanting(comes=False)).pool:
        it.want(1)
        await until(lambda: it.library.reads)
        it.want(2, 3)
        await asyncio.sleep(0)
        it.library.go.set()
        await until(lambda: len(it.arrivals) == 3)
        assert it.library.reads == [[1], [2, 3]]
        assert not it.begun


async def test_one_that_is_not_there_begins_as_none_and_one_that_makes_no_sense_fails_alone() -> None:
    async with (it := Wanting()).pool:
        it.library.go.set()
        it.want(1, 13, 100)
        await until(lambda: len(it.begun) == 2 and it.failed)
    assert it.begun.keys() == {1, 100}
    assert it.begun[100] is None
    assert isinstance(it.failed[13], ValueError)


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a bug")])
async def test_a_read_that_fails_fails_all_that_it_was_for_and_the_next_ones_are_read(error: Exception) -> None:
    async with (it := Wanting()).pool:
        it.library.away = error
        it.library.go.set()
        it.want(1, 2)
        await until(lambda: len(it.failed) == 2)
        assert it.failed == {1: error, 2: error}
        it.library.away = None
        it.want(3)
        await until(lambda: it.begun)
    assert it.begun.keys() == {3}


async def test_nobody_waits_for_one_that_needs_more() -> None:
    async with (it := Wanting()).pool:
        it.library.go.set()
        it.want(10, 1)
        await until(lambda: it.begun)
        assert it.begun.keys() == {1}
        it.want(2)
        await until(lambda: 2 in it.begun)
        it.library.built.set()
        await until(lambda: 10 in it.begun)


async def test_one_that_needs_more_has_its_worker_though_others_are_wanted_all_the_time() -> None:
    it = Wanting(pool=WorkerPool(1))
    read = it.library.read

    async def read_and_want_more(keys: Sequence[int]) -> dict[int, Snapshot | Exception]:
        if 10 not in it.begun and len(it.library.reads) < 50:
            it.want(100 + len(it.library.reads))
        return await read(keys)

    it.library.read = read_and_want_more  # type: ignore[method-assign]
    it.library.go.set()
    it.library.built.set()
    async with it.pool:
        it.want(10)
        await until(lambda: 10 in it.begun)
        assert len(it.library.reads) < 10
        await until(lambda: not it.arrivals.under_way)
    assert len(it.begun) == len(it.library.reads), "each was begun"
