"""Hearing of ends from those who commit them, which is sooner than by way of the queue service.

The queue service names whoever publishes hints. From then on he is followed, until he has not answered for a while. All
of this is only about time: whatever is missed here, the queue service tells, or the watcher's own timer finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Protocol, Self

from libs.runtime.backoff import Backoff
from libs.wire.hints import Hint
from libs.workflow.errors import AirscrewError
from services.admin.hints import Hints

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = (0.1, 2.0)
"""How long to wait at first, and at most, before somebody is asked again who did not answer."""

GIVE_UP_SECONDS: Final = 60.0


class Propellers(Protocol):
    """Who can be followed."""

    def follow(self, address: str) -> AsyncIterator[list[Hint]]:
        """Ends, as the replica at `address` commits them; nothing, first, as soon as it answers."""


class Ears:
    """Follows everybody who is named, while its context is open."""

    def __init__(self, propellers: Propellers, hints: Hints) -> None:
        self._propellers = propellers
        self._hints = hints
        self._following: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, address: str) -> None:
        """Follows the replica at `address` from now on, if it does not yet."""
        if address not in self._following:
            task = asyncio.create_task(self._follow(address), name=f"follow {address}")
            self._following[address] = task
            task.add_done_callback(lambda _: self._following.pop(address, None))

    async def _follow(self, address: str) -> None:
        clock, backoff = asyncio.get_running_loop().time, Backoff(*AGAIN_SECONDS)
        last = clock()
        while clock() - last < GIVE_UP_SECONDS:
            answers = False
            try:
                async for ends in self._propellers.follow(address):
                    answers = True
                    self._hints.tell_first_hand(ends)
            except AirscrewError as error:
                logger.debug("the propeller at %s does not tell of ends: %s", address, error.message)
            if answers:
                last = clock()
                backoff.reset()
            await asyncio.sleep(backoff.next())
        logger.info("the propeller at %s is not followed any more", address)
