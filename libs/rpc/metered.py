"""Counts the calls of a server and how long they take, under the names of gRPC's Prometheus middleware.

Flyte's services use those names (`grpc_server_handled_total`, `grpc_server_handling_seconds`), and so do dashboards
that people have. Streams count once, when they end. Only servers whose metrics somebody collects have this interceptor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from libs.rpc.handlers import Behaviour, Handler
from libs.telemetry.metrics import Kind, Level, Metering, Metric

HANDLED: Final = Metric(
    "grpc.server.handled",
    Kind.COUNTER,
    "{call}",
    "Calls that have ended, by code",
    ("grpc_type", "grpc_service", "grpc_method", "grpc_code"),
)
STARTED: Final = Metric(
    "grpc.server.started", Kind.COUNTER, "{call}", "Calls that have begun", ("grpc_type", "grpc_service", "grpc_method")
)
HANDLING: Final = Metric(
    "grpc.server.handling",
    Kind.HISTOGRAM,
    "s",
    "How long unary calls took",
    ("grpc_type", "grpc_service", "grpc_method"),
)
METRICS: Final = (STARTED, HANDLED, HANDLING)

_KINDS: Final = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}
_TYPES: Final = {
    "unary_unary": "unary",
    "unary_stream": "server_stream",
    "stream_unary": "client_stream",
    "stream_stream": "bidi_stream",
}


class MeteringInterceptor(grpc.aio.ServerInterceptor):
    """The outermost interceptor of a server whose calls are counted."""

    def __init__(self, metering: Metering) -> None:
        self._started: dict[tuple[str, str, str], int] = {}
        self._handled: dict[tuple[str, str, str, str], int] = {}
        self._handling = metering.histogram(HANDLING)
        metering.observe(STARTED, lambda: [Level(n, _about(*call)) for call, n in tuple(self._started.items())])
        metering.observe(
            HANDLED,
            lambda: [
                Level(n, _about(*call) | {"grpc_code": code}) for (*call, code), n in tuple(self._handled.items())
            ],
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        _, service, method = handler_call_details.method.split("/")
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        behaviour = self._counted(getattr(handler, kind), (_TYPES[kind], service, method))
        return make(behaviour, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]

    def _counted(self, behaviour: Behaviour, call: tuple[str, str, str]) -> Behaviour:
        about = _about(*call)
        unary = call[0] == "unary"

        async def handle(request: Any, context: Any) -> Any:
            began = time.perf_counter()
            self._started[call] = self._started.get(call, 0) + 1
            code = "OK"
            try:
                return await behaviour(request, context)
            except asyncio.CancelledError:
                code = "Canceled"
                raise
            except BaseException:
                code = _name_of(context.code())
                raise
            finally:
                key = (*call, code)
                self._handled[key] = self._handled.get(key, 0) + 1
                if unary:
                    self._handling(time.perf_counter() - began, about)

        return handle


def _about(type: str, service: str, method: str) -> dict[str, str]:
    return {"grpc_type": type, "grpc_service": service, "grpc_method": method}


def _name_of(code: Any) -> str:
    """As Go writes it: `NOT_FOUND` is NotFound. `Canceled` has one l there."""
    words = (code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN").split("_")
    return "".join(word.capitalize() for word in words).replace("Cancelled", "Canceled")
