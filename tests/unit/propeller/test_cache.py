"""Who waits for a value that another node computes is told, by whichever way the news comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from libs.runtime.clock import SystemClock
from libs.store.records import CacheAnswer, CacheRequest
from libs.workflow.machine import messages as m
from libs.workflow.state import Data, Reservation
from services.propeller import cache as module
from services.propeller.cache import Cache
from services.propeller.library import Library
from services.propeller.store import LeaderStore
from tests.support.waiting import until

KEY = b"k" * 32
OUTPUTS = Data.of(b"outputs")
TAKEN, FREE, THERE = CacheAnswer(None, False), CacheAnswer(None, True), CacheAnswer(OUTPUTS, True)


@dataclass
class Around:
    """What is around the cache: a store that answers as the test says, and a library of these executions."""

    answers: list[CacheAnswer]
    in_memory: set[int] = field(default_factory=lambda: {1, 2})
    told: list[tuple[int, m.Event]] = field(default_factory=list)
    asked: list[CacheRequest] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    cache: Cache = field(init=False)

    def __post_init__(self) -> None:
        store, library = cast(LeaderStore, self), cast(Library, self)
        self.cache = Cache(store, library, SystemClock(), lambda key, event: self.told.append((key, event)), self.spawn)

    async def look_up_cache(self, requests: Sequence[CacheRequest], now_us: int) -> list[CacheAnswer]:
        self.asked.extend(requests)
        self.before_answer()
        return [self.answers.pop(0) for _ in requests]

    def get(self, key: int) -> object:
        return object() if key in self.in_memory else None

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def look_up(self, execution: int) -> m.Event:
        """What the first node of an execution is told."""
        told = len(self.told)
        self.cache.look_up(execution, m.LookUpCache("n0", KEY, reserve=True))
        await until(lambda: len(self.told) > told)
        return self.told[told][1]

    def release(self) -> None:
        self.cache.released([Reservation(KEY, 9, "n0")])


@pytest.fixture
async def ended() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that are cancelled after the test."""
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_there_is_told() -> None:
    around = Around([THERE])
    assert await around.look_up(1) == m.CacheAnswered("n0", OUTPUTS)
    assert around.asked == [CacheRequest(KEY, 1, "n0", True)]


async def test_whoever_waits_is_told_when_the_value_has_been_computed() -> None:
    around = Around([TAKEN, TAKEN])
    assert await around.look_up(1) == m.CacheAnswered("n0", None, reserved=False)
    assert await around.look_up(2) == m.CacheAnswered("n0", None, reserved=False)
    around.release()
    assert around.told[2:] == [(1, m.CacheFreed(KEY)), (2, m.CacheFreed(KEY))]


async def test_whoever_may_compute_waits_for_nobody() -> None:
    around = Around([FREE])
    assert await around.look_up(1) == m.CacheAnswered("n0", None, reserved=True)
    around.release()
    assert len(around.told) == 1


async def test_a_value_that_is_ready_while_the_store_is_being_asked_is_asked_for_again() -> None:
    around = Around([TAKEN, THERE])

    def release_once() -> None:
        around.before_answer = lambda: None
        around.release()

    around.before_answer = release_once
    assert await around.look_up(1) == m.CacheAnswered("n0", OUTPUTS)
    assert len(around.asked) == 2


async def test_an_execution_that_has_left_memory_is_not_told() -> None:
    around = Around([TAKEN])
    await around.look_up(1)
    around.in_memory.clear()
    around.release()
    assert len(around.told) == 1


async def test_whoever_waits_for_somebody_elsewhere_asks_again_of_itself(
    monkeypatch: pytest.MonkeyPatch, ended: list[asyncio.Task[None]]
) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_SECONDS", 0.01)
    around = Around([TAKEN])
    await around.look_up(1)
    ended.append(asyncio.create_task(around.cache.ask_again(), name="ask again"))
    await until(lambda: (1, m.CacheFreed(KEY)) in around.told)
