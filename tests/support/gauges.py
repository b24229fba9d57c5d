"""Jobs that wait at a gate and count, and waiting for what such jobs do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Gauge:
    """A job that waits at a gate and remembers how many of its kind ran at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.started: list[int] = []
        self.ended: list[int] = []
        self.gate = asyncio.Event()

    async def __call__(self, number: int = 0) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        self.started.append(number)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        self.ended.append(number)
        return number


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def turns(number: int = 5) -> None:
    """Lets the loop turn a few times."""
    for _ in range(number):
        await asyncio.sleep(0)
