"""Whether a service answers: the gRPC health protocol, as Kubernetes asks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_DEADLINE_SECONDS = 1.0


def serving(address: str) -> Callable[[], Awaitable[bool]]:
    """A probe of the gRPC server at `address`: True when it says SERVING, False in any other case."""

    async def probe() -> bool:
        # A channel for each probe: one that failed would wait out its back-off, and starting would take longer.
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            try:
                reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_DEADLINE_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    return probe
