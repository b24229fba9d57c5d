"""Removes pods whose attempts have ended: at once, or after a while in which people can look at them.

A pod that is to be looked at is labelled, so that a restarted executor knows that its end has been reported. Who cannot
be removed for now is tried again; the cluster's own collector takes what is left when the owner goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Mapping
from typing import Final

from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from services.executor.pods import record
from services.executor.pods.cluster import Cluster, Object
from services.executor.pods.refusals import Refused, Unreachable

logger = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = (0.5, 20.0)


class Reaper:
    """Belongs to one event loop. `run` must be running for anything to be removed."""

    def __init__(self, cluster: Cluster, clock: Clock, keep_seconds: float) -> None:
        """`keep_seconds` is how long a pod that is to be looked at stays."""
        self._cluster = cluster
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._due: list[tuple[float, int, str, bool]] = []
        """Heap: when (monotonic), in which order, which pod, and whether it is to be labelled before."""
        self._numbers = itertools.count()
        self._known: set[str] = set()
        self._news = asyncio.Event()

    def remove(self, name: str) -> None:
        """The pod goes now."""
        self._add(name, 0.0, to_label=False)

    def keep(self, name: str) -> None:
        """The pod of a failed attempt stays for a while, where that is wished."""
        if self._keep_seconds:
            self._add(name, 0.0, to_label=True)
        else:
            self.remove(name)

    def unclaimed(self, pod: Object) -> None:
        """A pod of ours that no attempt knows: kept to be looked at, or left over."""
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        if record.ENDED in (metadata.get("labels") or {}):
            self._add(metadata["name"], self._keep_seconds - self._age_seconds(metadata), to_label=False)
        elif metadata["name"] not in self._known:
            logger.info("pod %s belongs to no attempt and is removed", metadata["name"])
            self.remove(metadata["name"])

    async def run(self) -> None:
        """Removes what is due, for ever; ended by cancellation."""
        backoff = Backoff(*_AGAIN_SECONDS)
        while True:
            self._news.clear()
            wait = self._due[0][0] - self._clock.monotonic() if self._due else None
            if wait is None or wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                continue
            due = heapq.heappop(self._due)
            _, _, name, to_label = due
            try:
                await (self._label(name) if to_label else self._cluster.delete(name))
            except (Refused, Unreachable) as error:
                logger.warning("pod %s is not removed for now: %s", name, error)
                heapq.heappush(self._due, due)
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            self._known.discard(name)
            if to_label:
                self._add(name, self._keep_seconds, to_label=False)

    async def _label(self, name: str) -> None:
        await self._cluster.label(name, {record.ENDED: str(self._clock.now_us() // 1_000_000)})

    def _add(self, name: str, seconds: float, *, to_label: bool) -> None:
        if name in self._known:
            return
        self._known.add(name)
        due = self._clock.monotonic() + max(seconds, 0.0)
        heapq.heappush(self._due, (due, next(self._numbers), name, to_label))
        self._news.set()

    def _age_seconds(self, metadata: Mapping[str, object]) -> float:
        """For how long the attempt's end has been known."""
        labels = metadata.get("labels")
        ended = labels.get(record.ENDED, "") if isinstance(labels, Mapping) else ""
        return self._clock.now_us() / 1e6 - int(ended) if ended.isdecimal() else self._keep_seconds
