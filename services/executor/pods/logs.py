"""Where what a pod prints goes: to where logs are kept, while it runs and when it has ended.

The cluster cannot be watched for what a container prints, so a growing log is fetched again and again: one log at a
time, each at most every `seconds`, and the longer that takes, the rarer. However many pods there are, that costs the
API server one request at a time. The last copy is the attempt's own, when nothing is added any more. A log that cannot
be had fails no task.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from dataclasses import dataclass, field
from typing import Final

from libs.workflow import errors
from services.executor.pods.cluster import Cluster
from services.executor.pods.refusals import Refused, Unreachable
from services.executor.results import Storage

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 4
"""Last copies; each is in memory as a whole."""
_PAUSE_FACTOR: Final = 10
"""A copy is followed by a pause of at least this many times its own duration."""
_TAIL_BYTES: Final = 4 << 10


@dataclass(slots=True)
class _Growing:
    """The log of a pod that runs."""

    container: str
    uri: str
    copied_bytes: int = 0
    copying: asyncio.Lock = field(default_factory=asyncio.Lock)


class Logs:
    """Belongs to one event loop. `run` must be running for logs to be readable before their ends."""

    def __init__(self, cluster: Cluster, storage: Storage, seconds: float) -> None:
        self._cluster = cluster
        self._storage = storage
        self._seconds = seconds
        self._growing: dict[str, _Growing] = {}
        self._due: list[tuple[float, str]] = []
        self._news = asyncio.Event()
        self._last_ones = asyncio.Semaphore(_AT_ONCE)

    def follow(self, name: str, container: str, uri: str) -> None:
        """From now on what the container prints is copied to `uri` once in a while."""
        if name not in self._growing:
            self._growing[name] = _Growing(container, uri)
            self._again(name, self._seconds)

    async def finish(self, name: str, container: str, uri: str) -> str:
        """Copies it for the last time, and returns its last lines."""
        growing = self._growing.pop(name, None) or _Growing(container, uri)
        async with self._last_ones:
            log = await self._copy(name, growing)
        return log[-_TAIL_BYTES:].decode(errors="replace").strip()

    def forget(self, name: str) -> None:
        """It is copied no more."""
        self._growing.pop(name, None)

    async def run(self) -> None:
        """Copies what grows, for ever; ended by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            wait = self._due[0][0] - loop.time() if self._due else None
            if wait is None or wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                continue
            _, name = heapq.heappop(self._due)
            if (growing := self._growing.get(name)) is None:
                continue
            began = loop.time()
            await self._copy(name, growing)
            if name in self._growing:
                self._again(name, max(self._seconds, _PAUSE_FACTOR * (loop.time() - began)))

    def _again(self, name: str, seconds: float) -> None:
        heapq.heappush(self._due, (asyncio.get_running_loop().time() + seconds, name))
        self._news.set()

    async def _copy(self, name: str, growing: _Growing) -> bytes:
        async with growing.copying:  # so that nothing older comes after the last copy
            try:
                log = await self._cluster.log(name, growing.container)
                if len(log) != growing.copied_bytes:
                    await self._storage.write(growing.uri, log)
                    growing.copied_bytes = len(log)
                return log
            except (Refused, Unreachable, errors.AirscrewError) as error:
                logger.warning("the log of pod %s was not copied: %s", name, error)
                return b""
