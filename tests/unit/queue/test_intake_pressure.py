"""However counting and creating mix, there are never more unfinished executions than the limit."""

from __future__ import annotations

import asyncio

from services.queue.intake.pressure import Pressure


class World:
    """Executions that exist, and an answer about them that may take its time."""

    def __init__(self) -> None:
        self.pending = 0
        self.counts = 0
        self.answer = asyncio.Event()
        self.answer.set()

    async def count(self) -> int:
        self.counts += 1
        found = self.pending
        await self.answer.wait()
        return found


async def test_what_was_there_before_counts() -> None:
    world = World()
    world.pending = 3
    assert await Pressure(5, world.count).room(10) == 2


async def test_it_counts_again_only_when_there_would_be_no_room() -> None:
    world = World()
    pressure = Pressure(100, world.count)
    for _ in range(100):
        assert await pressure.room(1) == 1
        pressure.started(1)
        world.pending += 1
        pressure.settled()
    assert world.counts == 1
    assert await pressure.room(1) == 0
    world.pending = 40
    assert await pressure.room(100) == 60 and world.counts == 3


async def test_what_is_under_way_counts_until_it_has_been_counted() -> None:
    world = World()
    pressure = Pressure(2, world.count)
    assert await pressure.room(5) == 2
    pressure.started(2)
    assert await pressure.room(5) == 0  # neither has been created, and both will be
    world.pending = 2
    pressure.settled()
    pressure.settled()
    assert await pressure.room(5) == 0
    world.pending = 0
    assert await pressure.room(5) == 2


async def test_what_starts_during_a_count_counts() -> None:
    world = World()
    pressure = Pressure(2, world.count)
    world.answer.clear()
    asking = asyncio.create_task(pressure.room(5))
    await asyncio.sleep(0)
    pressure.started(1)
    world.answer.set()
    assert await asking == 1
