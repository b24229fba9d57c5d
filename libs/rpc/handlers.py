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
from collections.abc import Awaitable, Callable
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


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """The outermost interceptor of every server of ours."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}
        """By method, its handler and what that has become. Generated services have one for each, and keep it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        inside, wrapped = self._wrapped.get(method, (None, handler))
        if inside is not handler:
            wrapped = _wrapped(handler, method)
            self._wrapped[method] = (handler, wrapped)
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
