"""Hearing of ends from those who commit them, which is sooner than by way of the queue service.

The queue service names whoever publishes hints. From then on he is followed, until he has not answered for a while. All
of this is only about time: whatever is missed here, the queue service tells, or the watcher's own timer finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
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
"""Who has not answered for so long is not asked any more, until the queue service names him again."""

REMEMBERED: Final = 100
"""So many addresses are remembered about which an operator has been warned."""


class Propellers(Protocol):
    """Who can be followed."""

    def follow(self, address: str) -> AsyncGenerator[list[Hint], None]:
        """Ends, as the replica at `address` commits them; nothing, first, as soon as it answers. Whatever that needs
        goes when the generator is closed."""


class Ears:
    """Follows everybody who is named, while its context is open."""

    def __init__(self, propellers: Propellers, hints: Hints) -> None:
        self._propellers = propellers
        self._hints = hints
        self._following: dict[str, asyncio.Task[None]] = {}
        self._warned: dict[str, None] = {}
        """Addresses where nobody has ever answered, and of which that has been said."""
        self.followed = 0
        """How many tell of their ends now."""
        self.ends = 0
        """How many ends were heard of first-hand."""

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
        last, has_answered, reason = clock(), False, ""
        while clock() - last < GIVE_UP_SECONDS:
            answers = False
            try:
                async with aclosing(self._propellers.follow(address)) as told:
                    async for ends in told:
                        if not answers:
                            self.followed += 1
                        answers = True
                        self.ends += len(ends)
                        self._hints.tell_first_hand(ends)
                reason = "it ended the stream"
            except AirscrewError as error:
                reason = error.message
                logger.debug("the propeller at %s does not tell of ends: %s", address, reason)
            finally:
                self.followed -= answers
            if answers:
                last, has_answered = clock(), True
                backoff.reset()
            await asyncio.sleep(backoff.next())
        self._gave_up(address, has_answered, reason)

    def _gave_up(self, address: str, has_answered: bool, reason: str) -> None:
        """Who has stopped is no news. Who publishes, and cannot be reached at his address, is for an operator."""
        if has_answered:
            self._warned.pop(address, None)
            logger.info("the propeller at %s is not followed any more: %s", address, reason)
        elif address not in self._warned:
            self._warned[address] = None
            if len(self._warned) > REMEMBERED:
                del self._warned[next(iter(self._warned))]
            logger.warning(
                "the propeller at %s, which is where it says to be, cannot be followed: %s. Clients hear of its ends"
                " from the queue service, which is later",
                address,
                reason,
            )
