"""Intakes on a real Redis, with an `admin` that knows what a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from flyteidl.core import interface_pb2, literals_pb2

from libs.runtime.clock import SystemClock
from libs.workflow.errors import AlreadyExists
from libs.workflow.identity import EntityId
from libs.workflow.intake import Codec, Intake, IntakeId, Kind
from services.queue.intake.line import Line
from services.queue.intake.runner import Options, Runner
from tests.support.flytetypes import INTEGER, STRING
from tests.support.redis import RedisServer

KEY = "tasks"
PLAN = EntityId("shop", "development", "shop.sell", "v1")


def expected() -> interface_pb2.ParameterMap:
    """What the launch plan asks for: `x`, and `who` if one likes."""
    found = interface_pb2.ParameterMap()
    found.parameters["x"].var.type.CopyFrom(INTEGER)
    found.parameters["who"].var.type.CopyFrom(STRING)
    return found


def intake(server: RedisServer, kind: Kind, **changed: Any) -> Intake:
    return Intake(
        **{
            "id": IntakeId("shop", "development", "sales"),
            "source": server.source(KEY),
            "kind": kind,
            "codec": Codec.JSON,
            "launch_plan": PLAN,
            **changed,
        }
    )


def push(server: RedisServer, kind: Kind, *items: bytes | str | dict[str, Any]) -> None:
    """What a program of the user's does."""
    for item in items:
        content = json.dumps(item) if isinstance(item, dict) else item
        if kind is Kind.LIST:
            server.client.rpush(KEY, content)
        else:
            server.client.xadd(KEY, {"data": content})


class FakeFront:
    """Remembers what it was asked to create."""

    def __init__(self) -> None:
        self.created: dict[str, literals_pb2.LiteralMap] = {}
        self.calls = 0
        self.ended = 0
        self.most_pending = 0
        self.away: Exception | None = None
        """What every creation is answered with."""
        self.lost: Callable[[], Exception | None] = lambda: None
        """What a caller gets although its execution was created."""
        self.admit = asyncio.Event()
        """Creations wait for it."""
        self.admit.set()

    @property
    def xs(self) -> list[int]:
        """Of all that were created, in order."""
        return sorted(inputs.literals["x"].scalar.primitive.integer for inputs in self.created.values())

    async def pending(self, id: IntakeId) -> int:
        return len(self.created) - self.ended

    async def expected_inputs(self, plan: EntityId) -> interface_pb2.ParameterMap:
        assert plan == PLAN
        return expected()

    async def create(self, taken: Intake, name: str, inputs: literals_pb2.LiteralMap) -> None:
        await self.admit.wait()
        self.calls += 1
        if self.away is not None:
            raise self.away
        if name in self.created:
            raise AlreadyExists(name)
        self.created[name] = inputs
        self.most_pending = max(self.most_pending, len(self.created) - self.ended)
        if (lost := self.lost()) is not None:
            raise lost


def runner(taken: Intake, front: FakeFront, name: str = "a", lease_seconds: float = 2.0) -> Runner:
    return Runner(taken, front, SystemClock(), Options(name, {}, concurrency=8, lease_seconds=lease_seconds))


@asynccontextmanager
async def running(
    taken: Intake, front: FakeFront, name: str = "a", lease_seconds: float = 2.0
) -> AsyncIterator[Runner]:
    """A runner for the length of the block, which then settles what it has claimed."""
    one = runner(taken, front, name, lease_seconds)
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.stop()
        await asyncio.wait_for(task, 10)


async def crash(one: Runner, task: asyncio.Task[None]) -> None:
    """Ends it as a kill does: nothing is settled, nothing let go of."""
    task.cancel()
    await asyncio.wait((task,))


@asynccontextmanager
async def looking(taken: Intake) -> AsyncIterator[Line]:
    """Somebody who looks at the line without taking in."""
    line = Line(taken, {})
    try:
        yield line
    finally:
        await line.close()
