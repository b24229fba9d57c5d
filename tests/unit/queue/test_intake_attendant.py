"""Every intake that is defined and not paused is taken in, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from libs.workflow.errors import Unavailable
from libs.workflow.identity import EntityId
from libs.workflow.intake import Codec, Intake, IntakeId, Kind
from services.queue.intake.attendant import Attendant
from tests.support.virtual import on_virtual_time
from tests.support.waiting import until

A = Intake(
    id=IntakeId("shop", "development", "a"),
    source="redis://h/a",
    kind=Kind.LIST,
    codec=Codec.JSON,
    launch_plan=EntityId("shop", "development", "shop.sell", "v1"),
)
B = replace(A, id=A.id._replace(name="b"), source="redis://h/b")


class FakeRunner:
    """Runs until it is stopped, and, if it is stubborn, longer."""

    def __init__(self, intake: Intake, world: World) -> None:
        self.intake = intake
        self._world = world
        self._stop = asyncio.Event()

    def stop(self) -> None:
        if not self._world.stubborn:
            self._stop.set()

    async def run(self) -> None:
        self._world.started.append(self.intake)
        self._world.running.append(self.intake)
        try:
            if self._world.mistakes:
                raise self._world.mistakes.pop()
            await self._stop.wait()
        finally:
            self._world.running.remove(self.intake)


class World:
    """What is defined, and who runs."""

    def __init__(self, *defined: Intake) -> None:
        self.defined: Sequence[Intake] = defined
        self.away = False
        self.asked = 0
        self.stubborn = False
        self.mistakes: list[Exception] = []
        self.started: list[Intake] = []
        self.running: list[Intake] = []

    async def intakes(self) -> Sequence[Intake]:
        self.asked += 1
        if self.away:
            raise Unavailable("starting")
        return self.defined

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        attendant = Attendant(self, lambda intake: FakeRunner(intake, self), 0.05, look_seconds=0.01)
        task = asyncio.create_task(attendant.attend(stopping))
        yield
        stopping.set()
        await asyncio.wait_for(task, 5)


async def test_what_is_defined_runs_until_it_is_paused_or_removed() -> None:
    world = World(A, B)
    async with world.attended():
        await until(lambda: world.running == [A, B])
        world.defined = (replace(A, paused=True), B)
        await until(lambda: world.running == [B])
        world.defined = (A,)
        await until(lambda: world.running == [A])
    assert world.running == [] and world.started == [A, B, A]


async def test_one_whose_definition_is_another_begins_anew() -> None:
    world = World(A)
    async with world.attended():
        await until(lambda: world.running == [A])
        changed = replace(A, limit=7)
        world.defined = (changed,)
        await until(lambda: world.running == [changed])


async def test_while_admin_is_away_everything_goes_on() -> None:
    world = World(A)
    async with world.attended():
        await until(lambda: world.running == [A])
        world.away = True
        asked = world.asked
        await until(lambda: world.asked > asked + 2)
        assert world.running == [A] and world.started == [A]


async def test_a_mistake_in_one_does_not_end_it_for_good_nor_the_others() -> None:
    world = World(A, B)
    world.mistakes = [ValueError("ours")]
    async with world.attended():
        await until(lambda: len(world.started) == 3 and sorted(world.running, key=lambda each: each.id) == [A, B])


async def test_one_that_does_not_stop_within_the_grace_is_ended() -> None:
    world = World(A)
    world.stubborn = True
    async with world.attended():
        await until(lambda: world.running == [A])
    assert world.running == []


@on_virtual_time
async def test_while_nothing_is_defined_it_looks_less_often() -> None:
    world = World()
    async with world.attended():
        await asyncio.sleep(0.49)
        seldom = world.asked
        world.defined = (A,)
        await asyncio.sleep(0.5)
        assert world.running == [A]
        often = world.asked - seldom
        world.defined = ()
    assert 8 <= seldom <= 10 < 40 <= often
