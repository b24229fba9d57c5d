"""What the clients of long streams share: they stay connected, or say so, and they count.

A stream that breaks is opened again, after 0.1 s at first and 2 s at most; one that was refused with a hint when to ask
again, not before that, though never later than after a minute. What that means for what was on its way is
each client's own business, and in its docstring.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from libs.rpc.errors import from_rpc
from libs.runtime.backoff import Backoff
from libs.workflow import errors

logger = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 2.0
_LONGEST_HINT_SECONDS: Final = 60.0
"""Nobody is believed who asks for more patience."""


ENDED: Final = "it ended the stream"


@dataclass(slots=True)
class Counters:
    """What a client has sent and received since it was made, over all of its connections."""

    connections: int = 0
    messages_sent: int = 0
    items_sent: int = 0
    messages_received: int = 0
    items_received: int = 0


async def opened(call: Any) -> bool:
    """Waits until the server has taken the call up. Returns whether it did: otherwise reading from it tells why."""
    await call.initial_metadata()
    return not call.done()


class Connection:
    """The log of a connection that comes and goes, and the waits in between."""

    def __init__(self, peer: str, counters: Counters) -> None:
        self._peer = peer
        self._counters = counters
        self._backoff = Backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        self._away = False

    def works(self) -> None:
        """The connection stands."""
        self._counters.connections += 1
        self._backoff.reset()
        if self._away:
            logger.info("%s is back", self._peer)
        self._away = False

    async def pause(self, reason: str, at_least_seconds: float = 0.0) -> None:
        """The connection is gone, or could not be had: returns when it is time for the next."""
        logger.log(logging.DEBUG if self._away else logging.WARNING, "%s is away: %s", self._peer, reason)
        self._away = True
        await asyncio.sleep(max(self._backoff.next(), min(at_least_seconds, _LONGEST_HINT_SECONDS)))


async def stay_connected(
    connection: Connection,
    session: Callable[[], Awaitable[bool]],
    fatal: tuple[type[errors.AirscrewError], ...] = (),
) -> None:
    """Runs `session`, the life of one call, again and again until it returns True: then there is nothing left to do.

    A call that ends otherwise is followed by another one, unless it failed with one of the `fatal` errors: these are
    raised.
    """
    while True:
        hint_seconds = 0.0
        try:
            if await session():
                return
            reason = ENDED
        except grpc.aio.AioRpcError as error:
            failure = from_rpc(error)
            if isinstance(failure, fatal):
                raise failure from error
            reason = failure.message
            if isinstance(failure, errors.ResourceExhausted) and failure.retry_after_us is not None:
                hint_seconds = failure.retry_after_us / 1e6
        await connection.pause(reason, hint_seconds)


async def converse(call: Any, *, send: Coroutine[Any, Any, None], receive: Coroutine[Any, Any, bool]) -> bool:
    """Runs both directions of a call until `receive` ends, and returns what it returns; the call ends with it.

    Of a call that fails, `receive` learns why; that `send` then fails too says nothing more.
    """
    sending = asyncio.create_task(send, name="send")
    receiving = asyncio.create_task(receive, name="receive")
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            _raise_mistakes(sending)
            await asyncio.wait((receiving,))
        return receiving.result()
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.wait((sending, receiving))
        call.cancel()


def _raise_mistakes(sending: asyncio.Task[None]) -> None:
    """Raises what went wrong in `sending`, unless it is that the call has ended."""
    error = sending.exception()
    if error is not None and not isinstance(error, grpc.aio.AioRpcError | asyncio.InvalidStateError):
        raise error
