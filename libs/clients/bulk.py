"""Executions in bulk: one stream to `admin` that outlives its connection.

Guarantees: every portion is answered once, in order; what was not answered when a connection broke is sent again on the
next one. Items that have names, their own or a batch's, are therefore created once. No more than a few portions are
kept, however many there are to come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

import grpc.aio
from flyteidl.admin import execution_pb2
from flyteidl.core import literals_pb2

from libs.rpc import errors as statuses
from libs.runtime.backoff import Backoff
from libs.workflow.errors import AirscrewError, DeadlineExceeded, ResourceExhausted, Unavailable
from protos import airscrew_pb2, airscrew_pb2_grpc

MAX_ITEMS: Final = 1_000
"""Items in one portion."""

_WINDOW: Final = 4
"""Portions that are on their way: enough to keep `admin` busy while answers travel."""

_WRITE_FAILED: Final = "Internal error from Core"
"""What gRPC itself says when a connection breaks under a message that is being written, before it knows why."""

_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 5.0

_Request = airscrew_pb2.SubmitExecutionsRequest
_Reply = airscrew_pb2.SubmitExecutionsReply


class Outcome(Enum):
    """What became of an item."""

    CREATED = _Reply.OUTCOME_CREATED
    EXISTS = _Reply.OUTCOME_EXISTS
    REFUSED = _Reply.OUTCOME_REFUSED


class Result(NamedTuple):
    """Of one item."""

    name: str
    outcome: Outcome
    reason: str
    """Why it was refused; else empty."""


class Portion(NamedTuple):
    """Items that follow each other in their batch."""

    first: int
    items: Sequence[literals_pb2.LiteralMap]


class Bulk:
    """Submits a batch.

    Args:
        connection: to `admin`.
        common: what all executions have in common.
        batch: names those without names, by their place.
        patience_seconds: how long `admin` may be away before that is an error.
    """

    def __init__(
        self,
        connection: grpc.aio.Channel,
        common: execution_pb2.ExecutionCreateRequest,
        batch: str,
        patience_seconds: float = 60.0,
    ) -> None:
        self._stub: airscrew_pb2_grpc.AirscrewAsyncStub = airscrew_pb2_grpc.AirscrewStub(connection)
        self._common = common
        self._batch = batch
        self._patience = patience_seconds
        self._unanswered: deque[Portion] = deque()
        self._room = asyncio.Event()
        self._all_taken = False

    async def submit(self, portions: asyncio.Queue[Portion | None]) -> AsyncIterator[tuple[Portion, Sequence[Result]]]:
        """Submits what the queue brings until it brings None; yields what became of each portion, once it is durable.

        Raises what the server refuses a whole request with, and Unavailable when it has been away for too long.
        """
        loop = asyncio.get_running_loop()
        backoff = Backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        away_since: float | None = None
        while not (self._all_taken and not self._unanswered):
            call = self._stub.SubmitExecutions()
            sending = asyncio.create_task(self._send(call, portions), name="bulk, send")
            try:
                while isinstance(reply := await call.read(), _Reply):
                    away_since = None
                    backoff.reset()
                    portion = self._unanswered.popleft()
                    self._room.set()
                    yield portion, [_result(result) for result in reply.results]
            except grpc.aio.AioRpcError as error:
                failure = statuses.from_rpc(error)
                away_since = away_since or loop.time()
                if not _passes(failure) or loop.time() - away_since > self._patience:
                    raise failure from error
                await asyncio.sleep(backoff.next())
            finally:
                sending.cancel()
                await asyncio.wait((sending,))
                call.cancel()

    async def _send(self, call: Any, portions: asyncio.Queue[Portion | None]) -> None:
        common: execution_pb2.ExecutionCreateRequest | None = self._common
        for portion in tuple(self._unanswered):
            await call.write(self._request(portion, common))
            common = None
        while not self._all_taken:
            while len(self._unanswered) >= _WINDOW:
                self._room.clear()
                await self._room.wait()
            taken = await portions.get()
            if taken is None:
                self._all_taken = True
                break
            self._unanswered.append(taken)
            await call.write(self._request(taken, common))
            common = None
        await call.done_writing()

    def _request(self, portion: Portion, common: execution_pb2.ExecutionCreateRequest | None) -> _Request:
        items = [_Request.Item(inputs=inputs) for inputs in portion.items]
        return _Request(common=common, batch=self._batch, first=portion.first, items=items)


def _passes(failure: AirscrewError) -> bool:
    """Whether the same may succeed later."""
    return isinstance(failure, Unavailable | DeadlineExceeded | ResourceExhausted) or failure.message == _WRITE_FAILED


def _result(message: airscrew_pb2.SubmitExecutionsReply.Result) -> Result:
    return Result(message.name, Outcome(message.outcome), message.reason)
