"""A turn of whoever takes in: claims items, creates their executions, and only then lets go of them.

    recover ──▶ claim ──▶ decode ──▶ create ──▶ done
                             │          │
                          wrong:     refused: given up; fails: again, up to `tries` times;
                          given up   nobody answers: again, for ever

What was claimed and not settled before, by whomever, comes first. A turn ends when it is told to, with everything that
it has claimed settled if `admin` answers; and when something goes wrong, with an exception: then what it had claimed is
recovered by the next one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from flyteidl.core import interface_pb2, literals_pb2

from libs.runtime import together
from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.workflow import intake as items
from libs.workflow.errors import AirscrewError, AlreadyExists, DeadlineExceeded, InvalidArgument, Unavailable
from libs.workflow.identity import EntityId
from libs.workflow.intake import Intake, IntakeId
from services.queue.intake.line import Claim, Line
from services.queue.intake.pressure import Pressure
from services.queue.intake.report import Report

_WAIT_SECONDS: Final = 1.0
"""The longest that nobody looks at what is to be replayed while the source is empty."""
_FULL_SECONDS: Final = (0.2, 5.0)
"""Between two looks at whether executions have ended, while too many have not: the first, and the longest while nothing
changes."""


class Front(Protocol):
    """Where executions are created: `libs.clients.admin`."""

    async def pending(self, id: IntakeId) -> int:
        """How many of an intake's executions are not final."""

    async def expected_inputs(self, plan: EntityId) -> interface_pb2.ParameterMap:
        """What launching asks for."""

    async def create(self, taken: Intake, name: str, inputs: literals_pb2.LiteralMap) -> None:
        """Durable when this returns. Raises AlreadyExists, InvalidArgument and whatever else may go wrong."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What a turn needs."""

    intake: Intake
    line: Line
    front: Front
    clock: Clock
    report: Report
    stopping: asyncio.Event
    concurrency: int
    """So many executions are created at a time."""


class Turn:
    """From taking hold to letting go."""

    def __init__(self, taking: Taking) -> None:
        self._taking = taking
        self._intake, self._line, self._front = taking.intake, taking.line, taking.front
        self._pressure = Pressure(taking.intake.limit, lambda: self._front.pending(self._intake.id))
        self._running = 0
        self._freed = asyncio.Event()
        self._durable: list[str] = []
        self._closed = False
        self._news = asyncio.Event()

    async def work(self) -> None:
        """Until it is to stop."""
        self._expected = await self._front.expected_inputs(self._intake.launch_plan)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._let_go(), name=f"intake {self._intake.id}, let go")
            async with asyncio.TaskGroup() as settling:
                self._start(settling, *await self._line.recover())
                await self._claim(settling)
            self._closed = True
            self._news.set()

    async def _claim(self, settling: asyncio.TaskGroup) -> None:
        full = Backoff(*_FULL_SECONDS)
        while not self._taking.stopping.is_set():
            free = self._taking.concurrency - self._running
            if free <= 0:
                self._freed.clear()
                await self._freed.wait()
                continue
            room = await self._pressure.room(free)
            if not room:
                self._taking.report.say(
                    f"waits: {self._pressure.pending} of its executions have not ended, the limit is "
                    f"{self._intake.limit}"
                )
                await self._rest(full.next())
                continue
            full.reset()
            claims = await self._line.claim(room)
            self._taking.report.say("")
            self._start(settling, *claims)
            if not claims:
                with suppress(together.Interrupted):
                    await together.unless(self._taking.stopping, "intake, wait", self._line.wait(_WAIT_SECONDS))

    def _start(self, settling: asyncio.TaskGroup, *claims: Claim) -> None:
        self._pressure.started(len(claims))
        self._running += len(claims)
        for claim in claims:
            settling.create_task(self._settle(claim), name=f"intake {self._intake.id}, {claim.id}")

    async def _settle(self, claim: Claim) -> None:
        try:
            await self._create(claim)
        finally:
            self._pressure.settled()
            self._running -= 1
            self._freed.set()

    async def _create(self, claim: Claim) -> None:
        try:
            if claim.flaw:
                raise InvalidArgument(claim.flaw)
            decoded = items.decode(self._intake, claim.item, self._expected)
        except InvalidArgument as error:
            await self._bury(claim, error.message)
            return
        name = items.name_of(self._intake.id, claim.id, claim.item, decoded.own_id)
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                await self._front.create(self._intake, name, decoded.inputs)
            except AlreadyExists:
                break
            except InvalidArgument as error:
                await self._bury(claim, error.message)
                return
            except (Unavailable, DeadlineExceeded) as error:
                self._taking.report.complain(f"waits for admin: {error.message}")
            except AirscrewError as error:
                failures = await self._line.failed(claim.id)
                if failures >= self._intake.tries:
                    await self._bury(claim, f"its execution could not be created, {failures} times: {error.message}")
                    return
            else:
                break
            if await self._rest(backoff.next()):
                return  # stays claimed: whoever takes in next goes on with it
        self._durable.append(claim.id)
        self._news.set()

    async def _bury(self, claim: Claim, reason: str) -> None:
        await self._line.bury(claim, reason, self._taking.clock.now_us())
        self._taking.report.buried(claim.id, reason)

    async def _let_go(self) -> None:
        """Settles what is durable, all that has gathered at a time."""
        while not self._closed:
            await self._news.wait()
            self._news.clear()
            while self._durable:
                claims, self._durable = self._durable, []
                await self._line.done(claims)
                self._taking.report.taken(len(claims))

    async def _rest(self, seconds: float) -> bool:
        """Waits so long, unless it is to stop: whether it is."""
        return await together.within(seconds, self._taking.stopping.wait())
