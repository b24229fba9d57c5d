"""Wires the queue service: opens its port, serves, stops in order."""

from __future__ import annotations

from libs.rpc import server as rpc
from libs.runtime.process import Life
from services.queue.api import SERVICE, Queue
from services.queue.hints import Relay
from services.queue.settings import QueueSettings
from services.queue.shards import Shards
from services.queue.spans import Spans


async def serve(settings: QueueSettings, life: Life) -> None:
    """Serves until `life.stopping`, then: not serving, streams end, the port closes. What waited is forgotten."""
    # Lease numbers count from the time in microseconds: higher than all that an earlier process can have given out.
    shards = Shards(settings.depth_keys, first_lease=life.clock.now_us())
    relay = Relay(settings.watcher_buffer_hints)
    queue = Queue(shards, relay, Spans(life.tracing, life.clock), life.clock)
    server = rpc.build(settings.listen, services={SERVICE: queue.register})
    await server.start()
    server.ready()
    await life.stopping.wait()
    server.not_serving()
    queue.stop()
    await server.stop(settings.stop_grace_seconds)
