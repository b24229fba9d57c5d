"""What goes wrong, as the dice have it: kinds of faults and their rates are drawn first, so that each seed has troubles
of its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.support.simulation.loop import world_task

if TYPE_CHECKING:
    from tests.support.simulation.world import World

Fault = Callable[[], Coroutine[Any, Any, None]]


class Chaos:
    """Faults for a while; then all is well again, but for clocks, which stay as wrong as they are."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._tasks: list[asyncio.Task[None]] = []
        kinds: list[Fault] = [
            self._kill,
            self._kill,
            self._pause,
            self._pause,
            self._stop,
            self._break,
            self._cut,
            self._lose_store,
            self._lose_etcd,
            self._expire_lease,
            self._expire_lease,
            self._lose_blobs,
            self._fill_disk,
            self._set_clock,
        ]
        self._kinds = [kind for kind in kinds if dice.random() < 0.5] or kinds
        self._mean_seconds = dice.choice([0.7, 1.5, 4.0])

    async def rage(self) -> None:
        world, dice = self._world, self._dice
        world.store_failing = dice.choice([0.0, 0.0, 0.02, 0.1])
        world.loop.hanging = dice.choice([0.0, 0.0, 0.02, 0.1, 0.25])
        world.network.late = dice.choice([0.0, 0.05, 0.3])
        world.network.doubling = dice.choice([0.0, 0.05, 0.3])
        world.etcd.losing = dice.choice([0.0, 0.0, 0.05, 0.2])
        world.bucket.failing = dice.choice([0.0, 0.0, 0.05])
        world.hints = dice.choice([[1], [0], [0, 1, 2], [1, 2]])
        end = world.loop.time() + dice.uniform(5.0, 30.0)
        while world.loop.time() < end:
            await asyncio.sleep(dice.expovariate(1 / self._mean_seconds))
            fault = dice.choice(self._kinds)
            self._tasks.append(world_task(world.loop, fault(), fault.__name__))
        await asyncio.gather(*self._tasks)
        self._calm()

    def _calm(self) -> None:
        world = self._world
        world.note("all is well again")
        world.store_failing = world.loop.hanging = world.network.late = 0.0
        world.network.doubling = world.etcd.losing = world.bucket.failing = 0.0

    # ------------------------------------------------------------------------------------------------ the processes

    def _anybody(self) -> str:
        world = self._world
        return self._dice.choice([*world.propellers * 2, *world.executors, "queue", "admin"])

    async def _kill(self) -> None:
        name = self._anybody()
        if not self._world.processes[name].dead:
            self._world.kill(name)
        await asyncio.sleep(self._dice.uniform(0.0, 8.0))
        self._world.restart(name)

    async def _stop(self) -> None:
        """As SIGTERM does."""
        name = self._anybody()
        if await self._world.stop(name):
            await asyncio.sleep(self._dice.uniform(0.0, 3.0))
        self._world.restart(name)

    async def _pause(self) -> None:
        """As SIGSTOP does; or as a machine is suspended, whose monotonic clock stands still meanwhile."""
        world, name = self._world, self._anybody()
        process, machine = world.processes[name], world.machines[name]
        if process.paused or process.dead:
            return
        seconds = self._dice.choice([0.1, 1.0, 8.0, 15.0]) * self._dice.random()
        suspended = self._dice.random() < 0.3
        world.note(f"{name} is {'suspended' if suspended else 'paused'} for {seconds:.3f} s")
        world.loop.pause(process)
        await asyncio.sleep(seconds)
        if not process.dead:
            world.note(f"{name} goes on")
            if suspended:
                machine.clock.stood += seconds
            world.loop.resume(process)

    async def _set_clock(self) -> None:
        name = self._anybody()
        jump = self._dice.choice([-20.0, -1.0, 1.0, 20.0]) * self._dice.random()
        self._world.note(f"the clock of {name} is set by {jump:.3f} s")
        self._world.machines[name].clock.wrong += jump

    async def _fill_disk(self) -> None:
        machine = self._world.machines[self._dice.choice(self._world.executors)]
        machine.full = True
        await asyncio.sleep(self._dice.uniform(0.5, 5.0))
        machine.full = False

    # -------------------------------------------------------------------------------------------------- the network

    async def _break(self) -> None:
        world = self._world
        calls = world.network.calls_of(world.processes[self._anybody()])
        silently = self._dice.random() < 0.3
        world.network.break_calls([call for call in calls if self._dice.random() < 0.7], silently=silently)

    async def _cut(self) -> None:
        world, pair = self._world, frozenset((self._anybody(), self._anybody()))
        if pair in world.network.cuts or len(pair) < 2:
            return
        world.note(f"{' and '.join(sorted(pair))} are cut off from each other")
        world.network.cuts.add(pair)
        await asyncio.sleep(self._dice.uniform(0.2, 12.0))
        world.network.cuts.discard(pair)
        if self._dice.random() < 0.5:
            names = [world.processes[name] for name in pair]
            calls = [call for call in world.network.calls() if call.client in names and call.server in names]
            world.network.break_calls(calls)

    # --------------------------------------------------------------------------------------------------- the stores

    async def _lose_store(self) -> None:
        self._world.note("the store is away")
        self._world.store.away = True
        await asyncio.sleep(self._dice.uniform(0.2, 6.0))
        self._world.store.away = False

    async def _lose_etcd(self) -> None:
        self._world.note("etcd is away")
        self._world.etcd.away = True
        await asyncio.sleep(self._dice.uniform(0.2, 8.0))
        self._world.etcd.away = False

    async def _expire_lease(self) -> None:
        """etcd forgets the lease early: it may, when its own clock jumps."""
        self._world.note("etcd loses the lease")
        self._world.etcd.expire()

    async def _lose_blobs(self) -> None:
        self._world.bucket.away = True
        await asyncio.sleep(self._dice.uniform(0.2, 5.0))
        self._world.bucket.away = False
