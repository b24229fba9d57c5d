"""Takes in one intake, for as long as nobody else does.

**Exactly once.** The name of an execution follows from its item, and an item stays claimed until its execution is
durable. So whatever dies at whatever moment, the item is delivered again and its execution exists already.

**One at a time.** Whoever takes in holds a key in Redis with a time to live, renewed several times in it: its heart-
beat. While it beats nobody else touches the claims, however long they take. Two at a time, as when one was stopped and
wakes, do no harm: both would create the same executions.

**Any trouble with Redis** ends the turn: its work is dropped and begun anew from what Redis says is claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.workflow.errors import AirscrewError
from libs.workflow.intake import Intake
from services.queue.intake.line import Line, Superseded
from services.queue.intake.report import Report
from services.queue.intake.turn import Front, Taking, Turn

_BEATS: Final = 5
"""Renewals in a lease."""


@dataclass(frozen=True, slots=True)
class Options:
    """What all intakes of a queue service have in common."""

    name: str
    """Of this process: no other one ever has it."""
    passwords: Mapping[str, str]
    """By `host:port`."""
    concurrency: int
    lease_seconds: float
    """So long after the last sign of life of whoever takes in another one may."""


class Runner:
    """One intake, until it is told to stop."""

    def __init__(self, intake: Intake, front: Front, clock: Clock, options: Options) -> None:
        self._line = Line(intake, options.passwords, options.name)
        self._lease = options.lease_seconds
        report = Report(intake.id, clock)
        self._taking = Taking(intake, self._line, front, clock, report, asyncio.Event(), options.concurrency)
        self._backoff = Backoff(0.1, 2.0)

    def stop(self) -> None:
        """Claims nothing more, settles what it has, and returns from `run`."""
        self._taking.stopping.set()

    async def run(self) -> None:
        """Takes in. Neither Redis nor `admin` need be there."""
        try:
            await self._take_turns()
        finally:
            await self._line.close()

    async def _take_turns(self) -> None:
        while not self._taking.stopping.is_set():
            wait = self._lease / _BEATS
            try:
                if await self._hold():
                    self._backoff.reset()
                    await self._take_turn()
                    await self._line.release()
            except* Superseded:
                pass
            except* AirscrewError as failed:
                self._taking.report.complain(_first(failed).message)
                wait = self._backoff.next()
            await together.within(wait, self._taking.stopping.wait())

    async def _take_turn(self) -> None:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(over), name=f"intake {self._taking.intake.id}, beat")
            await Turn(self._taking).work()
            over.set()

    async def _hold(self) -> bool:
        return await self._line.hold(self._lease, self._taking.report.status())

    async def _beat(self, over: asyncio.Event) -> None:
        while not await together.within(self._lease / _BEATS, over.wait()):
            if not await self._hold():
                raise Superseded


def _first(group: BaseExceptionGroup[AirscrewError]) -> AirscrewError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
