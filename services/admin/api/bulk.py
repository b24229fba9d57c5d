"""The part of `airscrew.v1.Airscrew` that creates executions in bulk.

Requests are checked one after the other; while one is on its way to the disk, the next ones are checked. No more than a
few are held at a time: a client that sends faster is held back by the stream itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from libs.rpc import errors as statuses
from libs.workflow import fields
from libs.workflow.errors import AlreadyExists, InvalidArgument
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.admin.api.traceparent import traceparent
from services.admin.launch import Bulk, Item, Launcher, Result

MAX_ITEMS: Final = 1_000
"""Items in one request: it is checked in some 20 ms, and stored in two transactions."""

_IN_FLIGHT: Final = 4
"""Requests of a stream that are being stored: enough that the disk never waits for the checks."""

_MAX_BATCH_NAME: Final = 255

_Stored = asyncio.Queue[asyncio.Task[list[Result]] | None]
"""Requests that have been checked, in order; None is the end."""

_Reply = airscrew_pb2.SubmitExecutionsReply


class BulkCalls(airscrew_pb2_grpc.AirscrewServicer):
    """Many executions at a time."""

    _launcher: Launcher

    async def SubmitExecutions(
        self, requests: AsyncIterator[airscrew_pb2.SubmitExecutionsRequest], context: Any
    ) -> AsyncIterator[airscrew_pb2.SubmitExecutionsReply]:
        stored: _Stored = asyncio.Queue(_IN_FLIGHT)
        reading = asyncio.create_task(self._read(requests, traceparent(context), stored), name="bulk, read")
        storing = None
        try:
            while (storing := await stored.get()) is not None:
                yield _Reply(results=map(_result, await storing))
            await reading  # what is wrong with a request is told after all before it have been answered
        finally:
            left: list[asyncio.Task[Any]] = [reading, *([] if storing is None else [storing])]
            while not stored.empty():
                if (waiting := stored.get_nowait()) is not None:
                    left.append(waiting)
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    async def _read(
        self, requests: AsyncIterator[airscrew_pb2.SubmitExecutionsRequest], caller: str, stored: _Stored
    ) -> None:
        try:
            bulk: Bulk | None = None
            async for request in requests:
                _check(request)
                if request.HasField("common"):
                    fields.refuse(request.common, "common")
                    bulk = await self._launcher.prepare(request.common, caller, "common")
                if bulk is None:
                    raise InvalidArgument("common: missing in the first request of the stream")
                items = (Item(item.name, item.inputs) for item in request.items)
                checked = await self._launcher.check(bulk, request.batch, request.first, items)
                await stored.put(asyncio.create_task(self._launcher.submit(checked), name="bulk, store"))
        finally:
            if not _is_cancelled():
                await stored.put(None)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _check(request: airscrew_pb2.SubmitExecutionsRequest) -> None:
    if len(request.items) > MAX_ITEMS:
        raise InvalidArgument(f"items: {len(request.items)} are more than the {MAX_ITEMS} allowed in one request")
    if len(request.batch) > _MAX_BATCH_NAME:
        raise InvalidArgument(f"batch: has {len(request.batch)} characters, at most {_MAX_BATCH_NAME} are allowed")


def _result(result: Result) -> airscrew_pb2.SubmitExecutionsReply.Result:
    if result.error is None:
        return _Reply.Result(name=result.name, outcome=_Reply.OUTCOME_CREATED)
    if isinstance(result.error, AlreadyExists):
        return _Reply.Result(name=result.name, outcome=_Reply.OUTCOME_EXISTS)
    status, reason = statuses.status_of(result.error)
    return _Reply.Result(name=result.name, outcome=_Reply.OUTCOME_REFUSED, reason=reason, code=status.value[0])
