"""The loop that simulations run on."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.simulation.loop import Process, Spinning, VirtualLoop, current


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop(random.Random(1))


def test_an_hour_goes_by_in_no_time(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() >= 3600


def test_what_belongs_to_a_paused_process_happens_when_it_is_resumed_and_in_order(loop: VirtualLoop) -> None:
    process, ticks = Process("p"), list[float]()

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(loop.time())

    async def watch() -> None:
        ticking = loop.start(process, tick())
        await asyncio.sleep(2.5)
        loop.pause(process)
        await asyncio.sleep(10)
        assert len(ticks) == 2
        loop.resume(process)
        await asyncio.sleep(2)
        loop.kill(process)
        await asyncio.wait([ticking])

    loop.run_until_complete(watch())
    assert [round(tick, 1) for tick in ticks] == [1.0, 2.0, 12.5, 13.5]


def test_a_process_that_is_killed_ends_with_all_its_tasks(loop: VirtualLoop) -> None:
    process, ended = Process("p"), list[str]()

    async def wait(name: str) -> None:
        assert current() is process
        try:
            if name == "main":
                async with asyncio.TaskGroup() as group:
                    group.create_task(wait("below"))
            await asyncio.sleep(1000)
        finally:
            ended.append(name)

    async def watch() -> None:
        main = loop.start(process, wait("main"))
        await asyncio.sleep(1)
        loop.kill(process)
        await asyncio.wait([main])

    loop.run_until_complete(watch())
    assert ended == ["below", "main"]
    assert not process.tasks
    assert loop.time() < 2


def test_what_is_given_to_one_thread_is_carried_out_in_order(loop: VirtualLoop) -> None:
    done: list[int] = []
    thread = ThreadPoolExecutor(1)

    async def give() -> None:
        await asyncio.gather(*(loop.run_in_executor(thread, done.append, number) for number in range(50)))

    loop.run_until_complete(give())
    assert done == list(range(50))


def test_what_a_thread_raises_is_raised_where_it_is_awaited(loop: VirtualLoop) -> None:
    async def ask() -> None:
        await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        loop.run_until_complete(ask())


def test_a_dead_process_reaches_nobody_through_its_threads(loop: VirtualLoop) -> None:
    process, reached = Process("p"), list[bool]()
    process.dead = True

    async def ask() -> None:
        await asyncio.to_thread(reached.append, True)

    async def watch() -> None:
        await asyncio.wait([loop.start(process, ask())])

    loop.run_until_complete(watch())
    assert not reached


def test_something_that_waits_for_itself_is_found_out(loop: VirtualLoop) -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Spinning):
        loop.run_until_complete(spin())
