"""The collector's way to the store: asynchronous, on a thread and a connection of its own.

Nobody waits behind it, and what it writes is small; after each write it leaves the store to others for as long as it
has had it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from libs.store.garbage import Garbage

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 1.0


class GarbageStore:
    """Runs work on the collector's connection. Errors are those of `libs.store.garbage`."""

    def __init__(self, open_garbage: Callable[[], Garbage]) -> None:
        self._open = open_garbage
        self._garbage: Garbage | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="garbage")

    async def read(self, work: Callable[Concatenate[Garbage, P], T], *given: P.args, **named: P.kwargs) -> T:
        """`work(garbage, …)`. A call that is cancelled goes on in its thread to the end."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: work(self._connected(), *given, **named)
        )

    async def write(self, work: Callable[Concatenate[Garbage, P], T], *given: P.args, **named: P.kwargs) -> T:
        """One transaction, and a pause as long as it took."""
        began = time.monotonic()
        answer = await self.read(work, *given, **named)
        await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, time.monotonic() - began))
        return answer

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _connected(self) -> Garbage:
        if self._garbage is None:
            self._garbage = self._open()
        return self._garbage

    def _close(self) -> None:
        if self._garbage is not None:
            self._garbage.close()
