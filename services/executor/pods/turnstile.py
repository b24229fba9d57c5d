"""How many pods are created at once, and when who was refused for want of quota tries again.

After a refusal the wait doubles, from 1 s to 20 s, as in FlytePropeller. But who has waited longest tries as soon as a
pod of ours has ended: quota may be free then, and nobody has to find that out by chance.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from libs.runtime.backoff import Backoff

_AT_ONCE: Final = 16
"""Enough to keep an API server busy, and few enough for it not to push back."""
_WAIT_SECONDS: Final = (1.0, 20.0)
_SETTLE_SECONDS: Final = 1.0
"""From the end of a pod until its quota is free: a controller counts."""


class Turnstile:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._entering = asyncio.Semaphore(_AT_ONCE)
        self._waiting: OrderedDict[asyncio.Event, None] = OrderedDict()

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """One of a few at a time."""
        async with self._entering:
            yield

    def patience(self) -> Backoff:
        """The waits of one attempt."""
        return Backoff(*_WAIT_SECONDS)

    async def wait(self, seconds: float) -> None:
        """Returns after so long, or when something has ended and nobody has waited longer."""
        mine = asyncio.Event()
        self._waiting[mine] = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await mine.wait()
        finally:
            self._waiting.pop(mine, None)

    def ended(self) -> None:
        """A pod has ended: what it had is about to be free."""
        if self._waiting:
            asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._let_one_try)

    def _let_one_try(self) -> None:
        if self._waiting:
            first, _ = self._waiting.popitem(last=False)
            first.set()
