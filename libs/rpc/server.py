"""A gRPC server as every service of ours wants it.

- **Errors** leave by the table of `libs.rpc.errors`; nothing leaves as UNKNOWN, malformed requests included.
- **Health and reflection** are always there. Health is NOT_SERVING from `start` until `ready`, and again from
  `not_serving` on; it is answered from memory, so that it never waits behind work. The health of `LIVE` is SERVING as
  long as the event loop answers, whether the service may be sent work or not: it is what a liveness probe asks for.
- **Deadlines**: a unary call is given up shortly before the caller's own deadline, so that the caller hears why; a
  caller without one gets `UNARY_SECONDS`. Streams live as long as both sides want.
- **TLS** as the process is configured (`libs.rpc.security`); then health may also be asked without it, elsewhere.
- **Keep-alive**: clients may ping idle connections as often as every 5 s; flytekit does so every 30 s and a stock
  server would hang up on it.
- **Stopping**: `stop` says not-serving, refuses new calls, lets running ones finish within the grace, cancels the rest.
  A stream that should end politely must be ended by its service before.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from libs.rpc import handlers, security
from libs.rpc.metered import MeteringInterceptor
from libs.runtime import readiness
from libs.telemetry.metrics import Metering
from libs.workflow import errors

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
PENDING_CALLS: Final = 20_000

LIVE: Final = "airscrew.live"
"""The name under which health tells that the process is alive."""

Registrar = Callable[[grpc.aio.Server], None]
Servicer = TypeVar("Servicer")

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Server:
    """A server under construction, then running, then stopped; made by `build`."""

    def __init__(
        self, listen: str, server: grpc.aio.Server, services: Sequence[str], rpc: security.RpcSettings
    ) -> None:
        self._listen = listen
        self._server = server
        self._services = ("", *services)
        self._rpc = rpc
        self._plain: grpc.aio.Server | None = None
        """Where health is answered without TLS too."""
        self._health = health.aio.HealthServicer()
        self._health_changes: set[asyncio.Task[None]] = set()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)

    async def start(self) -> str:
        """Listens, and returns the address with the port that it got (0 asks for any free one).

        Raises Unavailable when the address cannot be had.
        """
        await self._set_health(_NOT_SERVING)
        await self._health.set(LIVE, _SERVING)
        credentials = security.server_credentials(self._rpc)
        port = _bound(self._server, self._listen, credentials)
        if self._rpc.health_listen:
            self._plain = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._plain)
            _bound(self._plain, self._rpc.health_listen, None)
            await self._plain.start()
        await self._server.start()
        address = self._listen if self._listen.startswith("unix:") else f"{self._listen.rpartition(':')[0]}:{port}"
        logger.info("listening on %s", address)
        return address

    def ready(self) -> None:
        """Health says SERVING from now on, and whoever runs this process and wants to know is told."""
        self._change_health(_SERVING)

    def not_serving(self) -> None:
        """Health says NOT_SERVING from now on, so that balancers send new calls elsewhere; calls are still served."""
        self._change_health(_NOT_SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Stops as the module says; returns when nothing runs any more, at most shortly after `grace_seconds`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
        if self._plain is not None:
            await self._plain.stop(0)

    def _change_health(self, status: int) -> None:
        change = asyncio.get_running_loop().create_task(self._set_health(status), name="rpc-health")
        self._health_changes.add(change)
        change.add_done_callback(self._health_changes.discard)

    async def _set_health(self, status: int) -> None:
        for service in self._services:
            await self._health.set(service, status)
        if status == _SERVING:
            readiness.tell()


def build(
    listen: str,
    *,
    services: Mapping[str, Registrar],
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    metering: Metering | None = None,
) -> Server:
    """A server on `listen` (`host:port` or `unix:path`) with the `services`.

    `services` maps full service names (`airscrew.queue.v1.Queue`) to what adds the service's handlers:
    `{name: lambda server: queue_pb2_grpc.add_QueueServicer_to_server(api, server)}`. Calls are counted where `metering`
    is on. Messages may have at most `max_message_bytes`, either way.
    """
    rpc = security.configured()
    age_ms = int(rpc.max_connection_age_seconds * 1000)
    counting = [MeteringInterceptor(metering)] if metering is not None and metering.enabled else []
    server = grpc.aio.server(
        interceptors=counting,
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.http2.max_ping_strikes", 0),
            # Our own pings find out about peers that vanished without a word, whose streams hold leases and slots.
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),
            # More calls than this may wait for their turn. From 1,000 on, which is the default, gRPC would cancel some
            # of them by chance: a burst of submissions must be slow, not partly refused.
            ("grpc.server.max_pending_requests", PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING_CALLS),
            # Two processes on one port would each get half of the calls; the second one must fail instead.
            ("grpc.so_reuseport", 0),
            *((("grpc.max_connection_age_ms", age_ms),) if age_ms else ()),
        ],
    )
    guarded = handlers.Guarded(server)
    for register in services.values():
        register(guarded)
    return Server(listen, guarded, tuple(services), rpc)


def _bound(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise errors.Unavailable(f"cannot listen on {address}: {error}") from error


def unimplemented(servicer: type[Servicer]) -> type[Servicer]:
    """Class decorator: answers each method that `servicer` does not override with UNIMPLEMENTED and the method's name.

    The generated base class raises NotImplementedError without saying which method was meant.
    """
    missing: dict[str, Any] = {}
    for base in servicer.__mro__:
        if base.__module__.endswith("_pb2_grpc") and base.__name__.endswith("Servicer"):
            service, methods = _described(base)
            for method in methods:
                if getattr(servicer, method) is getattr(base, method):
                    missing[method] = _refusal(service, method)
    return type(
        servicer.__name__, (servicer,), {"__module__": servicer.__module__, "__doc__": servicer.__doc__, **missing}
    )


def _described(base: type) -> tuple[str, list[str]]:
    """The full name and the methods of the service for which `base` was generated."""
    descriptor = importlib.import_module(base.__module__.removesuffix("_grpc")).DESCRIPTOR
    service = descriptor.services_by_name[base.__name__.removesuffix("Servicer")]
    return service.full_name, [method.name for method in service.methods]


def _refusal(service: str, method: str) -> Callable[..., Any]:
    async def refuse(self: object, request: object, context: object) -> None:
        raise errors.Unimplemented(f"{service}/{method} is not implemented by this server")

    return refuse
