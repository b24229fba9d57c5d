"""Wraps every handler of a server so that whatever goes wrong in it leaves as the right status.

gRPC calls user code at three places: it reads the request, runs the method, writes the response. An exception at any
of them would leave as UNKNOWN. So all three happen inside one guard here: a request that cannot be read is passed on as
a value and refused inside it, and responses are written inside it. `context.abort` keeps its meaning and
cancellation passes through.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from libs.rpc import errors as statuses
from libs.workflow import errors

logger = logging.getLogger(__name__)

UNARY_SECONDS: Final = 60.0
"""How long a unary call may take whose caller set no deadline."""

ANSWER_SECONDS: Final = 0.02
"""How long before the caller's deadline a unary call is given up: the time in which the answer travels."""

# gRPC's own types cannot say that a handler of grpc.aio is asynchronous.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Any], Any]
Serializer = Callable[[Any], bytes]


class Guarded(grpc.aio.Server):
    """A server every handler of which is wrapped as it is added to it, and not anew for each call as an interceptor
    would have it: which takes its time."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """What generated code adds a service by, as it does by the next one for clients of former releases."""
        self._server.add_registered_method_handlers(
            service_name,
            {name: _wrapped(handler, f"/{service_name}/{name}") for name, handler in method_handlers.items()},
        )

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers([_GuardedService(each) for each in generic_rpc_handlers])

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        return await self._server.wait_for_termination(timeout)


class _GuardedService(grpc.GenericRpcHandler):
    """Handlers that are found by their names when they are called; each is wrapped when it is found first."""

    def __init__(self, inside: grpc.GenericRpcHandler) -> None:
        self._inside = inside
        self._wrapped: dict[str, tuple[Any, Handler]] = {}
        """By method, the handler as it was found and as it is called: no more than there are methods."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        handler: Any = self._inside.service(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        found, wrapped = self._wrapped.get(method, (None, None))
        if wrapped is None or found is not handler:
            wrapped = _wrapped(handler, method)
            self._wrapped[method] = handler, wrapped
        return wrapped


@dataclass(frozen=True, slots=True)
class _Malformed:
    """Stands for a request that could not be read."""

    error: Exception


def _wrapped(handler: Any, method: str) -> Handler:
    reads = handler.request_deserializer
    if not handler.request_streaming:
        reads = _tolerant(reads)
    writes = handler.response_serializer
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_streaming(handler.stream_stream, method), reads, writes)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(_streaming(handler.unary_stream, method), reads, writes)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_unary(handler.stream_unary, writes, method, None), reads, None)
    return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, writes, method, UNARY_SECONDS), reads, None)


def _tolerant(reads: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if reads is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return reads(data)
        except Exception as error:
            return _Malformed(error)

    return read


def _unary(behaviour: Behaviour, writes: Serializer | None, method: str, allowed_seconds: float | None) -> Behaviour:
    async def handle(request: Any, context: Any) -> Any:
        try:
            _refuse_malformed(request)
            async with _time_allowed(context, allowed_seconds):
                response = await _result(behaviour, request, context)
            return response if writes is None else writes(response)
        except Exception as error:
            await _leave(error, context, method)

    return handle


def _streaming(behaviour: Behaviour, method: str) -> Behaviour:
    async def handle(request: Any, context: Any) -> None:
        try:
            _refuse_malformed(request)
            if inspect.isasyncgenfunction(behaviour):
                # Closing the generator here runs its `finally` blocks now and in this task, not when it is collected.
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
            else:
                await _result(behaviour, request, context)
        except Exception as error:
            await _leave(error, context, method)

    return handle


async def _result(behaviour: Behaviour, request: Any, context: Any) -> Any:
    result = behaviour(request, context)
    return await result if inspect.isawaitable(result) else result


def _refuse_malformed(request: Any) -> None:
    if isinstance(request, _Malformed):
        raise errors.InvalidArgument(f"the request is malformed: {request.error}")


def _time_allowed(context: Any, allowed_seconds: float | None) -> AbstractAsyncContextManager[Any]:
    if allowed_seconds is None:
        return nullcontext()
    remaining = context.time_remaining()
    return asyncio.timeout(allowed_seconds if remaining is None else max(remaining - ANSWER_SECONDS, 0.0))


async def _leave(error: Exception, context: Any, method: str) -> None:
    """Ends the call with the status of `error`."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    status, message = statuses.status_of(error)
    if not statuses.is_known(error):
        logger.error("%s failed", method, exc_info=error)
    message = message or f"{method} took longer than the time allowed"
    await context.abort(status, message, statuses.trailers_of(error))
