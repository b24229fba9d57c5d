"""A queue service on a real socket, in the test's own loop, that can be stopped and started on its port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from libs.rpc import server as rpc
from libs.runtime.clock import SystemClock
from libs.telemetry.traces import Tracing
from services.queue.api import SERVICE, Queue
from services.queue.hints import Relay
from services.queue.intake import api as intake_api
from services.queue.intake.line import Line
from services.queue.line import Shape
from services.queue.shards import Shards
from services.queue.spans import Spans
from tests.support.spans import Kept


class QueueServer:
    """The service without its process. Each start begins with an empty queue, as a restart does."""

    def __init__(self, depth: int = 1_000_000, watcher_buffer: int = 10_000) -> None:
        self._depth = depth
        self.shape = Shape()
        self.retry_after_us = 1_000_000
        self._watcher_buffer = watcher_buffer
        self.address = "127.0.0.1:0"
        self.traced = Kept()
        self.running = False

    async def start(self) -> None:
        clock = SystemClock()
        self.shards = Shards(
            self._depth, first_lease=clock.now_us(), shape=self.shape, retry_after_us=self.retry_after_us
        )
        relay = Relay(self._watcher_buffer)
        self.api = Queue(self.shards, relay, Spans(Tracing(self.traced), clock), clock)
        intakes = intake_api.Intakes(lambda intake: Line(intake, {}))
        services = {SERVICE: self.api.register, intake_api.SERVICE: intakes.register}
        self._server = rpc.build(self.address, services=services)
        self.address = await self._server.start()
        self._server.ready()
        self.running = True

    async def stop(self) -> None:
        """In its order, as at SIGTERM."""
        self.running = False
        self.api.stop()
        await self._server.stop(2.0)

    async def break_down(self) -> None:
        """All at once, as at a crash: streams break."""
        self.running = False
        await self._server.stop(0)


@pytest_asyncio.fixture
async def queue_server() -> AsyncIterator[QueueServer]:
    """A running queue service."""
    server = QueueServer()
    await server.start()
    yield server
    if server.running:
        await server.stop()
