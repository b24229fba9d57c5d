"""Wires the queue service: opens its port, serves, stops in order."""

from __future__ import annotations

import asyncio
import os
import socket

from libs.clients.admin import Admin
from libs.rpc import server as rpc
from libs.runtime.clock import Clock
from libs.runtime.process import Life
from services.queue import meters
from services.queue.api import SERVICE, Queue
from services.queue.hints import Relay
from services.queue.intake import api as intake_api
from services.queue.intake.attendant import Attendant
from services.queue.intake.line import Line
from services.queue.intake.runner import Options, Runner
from services.queue.settings import QueueSettings
from services.queue.shards import Shards
from services.queue.spans import Spans


async def serve(settings: QueueSettings, life: Life) -> None:
    """Serves until `life.stopping`, then: not serving, streams end, intakes settle what they have claimed, the port
    closes. What waited is forgotten."""
    # Lease numbers count from the time in microseconds: higher than all that an earlier process can have given out.
    shards = Shards(
        settings.depth_keys,
        first_lease=life.clock.now_us(),
        shape=settings.shape,
        retry_after_us=int(settings.retry_after_seconds * 1e6),
        observe=meters.observer(life.metering),
    )
    relay = Relay(settings.watcher_buffer_hints)
    queue = Queue(shards, relay, Spans(life.tracing, life.clock), life.clock)
    intakes = intake_api.Intakes(lambda intake: Line(intake, settings.redis_passwords))
    services = {SERVICE: queue.register, intake_api.SERVICE: intakes.register}
    server = rpc.build(settings.listen, services=services, metering=life.metering)
    if life.metering.enabled:
        _ = life.spawn("meters", meters.board(life.metering, shards, relay, life.clock).watch())
    await server.start()
    server.ready()
    taking = None
    if settings.admin is not None:
        taking = life.spawn("take in", take_in(settings, settings.admin, life.clock, life.stopping))
    await life.stopping.wait()
    server.not_serving()
    queue.stop()
    if taking is not None:
        await asyncio.wait((taking,))
    await server.stop(settings.stop_grace_seconds)


async def take_in(settings: QueueSettings, admin_address: str, clock: Clock, stopping: asyncio.Event) -> None:
    """Takes in the intakes that are defined, until it is to stop."""
    admin = Admin(admin_address)
    options = Options(
        name=f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}",
        passwords=settings.redis_passwords,
        concurrency=settings.intake_concurrency,
        lease_seconds=settings.intake_lease_seconds,
    )
    try:
        attendant = Attendant(
            admin, lambda intake: Runner(intake, admin, clock, options), settings.stop_grace_seconds / 2
        )
        await attendant.attend(stopping)
    finally:
        await admin.close()
