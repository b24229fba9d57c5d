"""Sees to it that every intake that is defined and not paused is taken in.

What is defined is asked of `admin` again and again, so that any number of queue services do the right thing; which of
them takes in an intake is settled in Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.workflow.errors import AirscrewError, Unavailable
from libs.workflow.intake import Intake, IntakeId

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at what is defined …"""
SELDOM: Final = 5
"""… and so many times longer while nothing is: a look costs `admin` a read of the database, and most systems have no
intake."""


class Definitions(Protocol):
    """Where intakes are defined: `libs.clients.admin`."""

    async def intakes(self) -> Sequence[Intake]:
        """All of them."""


class Runs(Protocol):
    """Somebody who takes in one intake."""

    def stop(self) -> None:
        """Ends `run` soon."""

    async def run(self) -> None:
        """Takes in until it is stopped."""


@dataclass(frozen=True, slots=True)
class _Running:
    intake: Intake
    runner: Runs
    task: asyncio.Task[None]


class Attendant:
    """Starts and stops runners.

    Args:
        runner: makes one.
        grace_seconds: how long one may take to settle what it has claimed.
        look_seconds: between two looks at what is defined; see also SELDOM.
    """

    def __init__(
        self,
        definitions: Definitions,
        runner: Callable[[Intake], Runs],
        grace_seconds: float,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._definitions = definitions
        self._runner = runner
        self._grace = grace_seconds
        self._look = look_seconds
        self._running: dict[IntakeId, _Running] = {}

    async def attend(self, stopping: asyncio.Event) -> None:
        """Until it is to stop; then all of them have ended."""
        backoff = Backoff(self._look, SELDOM * self._look)
        try:
            while not stopping.is_set():
                try:
                    defined = await self._definitions.intakes()
                    await self._adjust(defined)
                    wait = self._look * (1 if defined else SELDOM)
                    backoff.reset()
                except AirscrewError as error:
                    wait = backoff.next()
                    # At a start `admin` is often not there yet.
                    level = logging.DEBUG if isinstance(error, Unavailable) else logging.WARNING
                    logger.log(level, "cannot ask which intakes there are: %s", error.message)
                await together.within(wait, stopping.wait())
        finally:
            await self._end(list(self._running.values()))

    async def _adjust(self, defined: Sequence[Intake]) -> None:
        wanted = {intake.id: intake for intake in defined if not intake.paused}
        over = [one for one in self._running.values() if wanted.get(one.intake.id) != one.intake or one.task.done()]
        await self._end(over)
        for id, intake in wanted.items():
            if id not in self._running:
                runner = self._runner(intake)
                task = asyncio.create_task(_watched(intake.id, runner), name=f"intake {id}")
                self._running[id] = _Running(intake, runner, task)

    async def _end(self, over: Sequence[_Running]) -> None:
        if not over:
            return
        for one in over:
            one.runner.stop()
        tasks = [one.task for one in over]
        try:
            await asyncio.wait(tasks, timeout=self._grace)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for one in over:
            del self._running[one.intake.id]


async def _watched(id: IntakeId, runner: Runs) -> None:
    """A mistake of ours in one intake must not end the others; it is begun again at the next look."""
    try:
        await runner.run()
    except Exception:
        logger.exception("intake %s failed", id)
