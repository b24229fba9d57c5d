"""What is known of this executor's pods: one list and one watch for all of them, and whoever follows a pod is woken.

Level-triggered: a follower is told that something has changed, and looks at what is. What a watch that broke has
missed, the list that follows it brings. Nothing is polled.

Not guaranteed: that a pod is gone as soon as it is missing here. Who wants to act on its absence asks the cluster
(`Followed.is_gone`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from libs.runtime.backoff import Backoff
from services.executor.pods import record
from services.executor.pods.cluster import Cluster, Object
from services.executor.pods.refusals import Refused, Unreachable

logger = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = (0.2, 20.0)
_TROUBLE_SECONDS: Final = 30.0
"""A server that is away for shorter is no reason to take nothing on."""
_TOO_OLD: Final = 410


class Followed:
    """A pod as it was seen last, by name: it need not exist yet."""

    def __init__(self, cluster: Cluster, name: str, pod: Object | None) -> None:
        self._cluster = cluster
        self._name = name
        self.pod = pod
        """None when it is missing, or was never seen."""
        self._news = asyncio.Event()
        self._was_there = pod is not None

    def see(self, pod: Object | None) -> None:
        """It is so now."""
        self._was_there = self._was_there or pod is not None
        self.pod = pod
        self._news.set()

    def wake(self) -> None:
        """Lets who follows look again."""
        self._news.set()

    async def changed(self, seconds: float | None = None) -> None:
        """Returns when there was news since the last call, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def is_gone(self) -> bool:
        """Whether there was such a pod and there is none now. Raises Refused and Unreachable."""
        if self.pod is None and self._was_there:
            self.pod = await self._cluster.get(self._name)
        return self.pod is None and self._was_there


class Informer:
    """Belongs to one event loop. `run` must be running for anything to be known."""

    def __init__(self, cluster: Cluster, executor: str) -> None:
        self._cluster = cluster
        self._selector = f"{record.EXECUTOR}={record.label_value(executor)}"
        self._pods: dict[str, Object] = {}
        self._followed: dict[str, Followed] = {}
        self._listed = asyncio.Event()
        self._away_since: float | None = None
        self._unclaimed: Callable[[Object], None] | None = None

    async def known(self) -> list[Object]:
        """All pods, as soon as the first list is there."""
        await self._listed.wait()
        return list(self._pods.values())

    @property
    def trouble(self) -> str:
        """Why nothing is known of pods for now; empty when all is well."""
        away = 0.0 if self._away_since is None else asyncio.get_running_loop().time() - self._away_since
        return f"the Kubernetes API has not answered for {away:.0f} s" if away > _TROUBLE_SECONDS else ""

    def report_unclaimed(self, tell: Callable[[Object], None]) -> None:
        """From now on `tell` gets each pod that nobody follows, whenever it is seen; those that are known, at once."""
        self._unclaimed = tell
        for name, pod in list(self._pods.items()):
            self._tell(name, pod)

    def follow(self, name: str) -> Followed:
        """Until `forget`, this pod is somebody's."""
        return self._followed.setdefault(name, Followed(self._cluster, name, self._pods.get(name)))

    def forget(self, name: str) -> None:
        self._followed.pop(name, None)

    def created(self, pod: Object) -> None:
        """The cluster has just taken this pod. The watch may be faster, and then knows better."""
        if pod["metadata"]["name"] not in self._pods:
            self._see(pod)

    async def run(self) -> None:
        """Watches for ever; ended by cancellation."""
        backoff = Backoff(*_AGAIN_SECONDS)
        while True:
            try:
                version = await self._list()
                self._away_since = None
                backoff.reset()
                await self._watch(version)
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.status == _TOO_OLD:
                    logger.info("the watch of pods was interrupted for too long: they are listed again")
                else:
                    logger.warning("pods are not seen for now: %s", error)
                    if self._away_since is None:
                        self._away_since = asyncio.get_running_loop().time()
                await asyncio.sleep(backoff.next())

    async def _list(self) -> str:
        before = set(self._pods)
        pods, version = await self._cluster.list(self._selector)
        for pod in pods:
            self._see(pod)
        for name in before - {pod["metadata"]["name"] for pod in pods}:
            self._miss(name)
        self._listed.set()
        return version

    async def _watch(self, version: str) -> None:
        async with contextlib.aclosing(self._cluster.watch(self._selector, version)) as events:
            async for event, pod in events:
                if event in ("ADDED", "MODIFIED"):
                    self._see(pod)
                elif event == "DELETED":
                    self._miss(pod["metadata"]["name"])

    def _see(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        pod["metadata"].pop("managedFields", None)  # half of what it takes, and nobody reads it
        self._pods[name] = pod
        self._tell(name, pod)

    def _miss(self, name: str) -> None:
        self._pods.pop(name, None)
        self._tell(name, None)

    def _tell(self, name: str, pod: Object | None) -> None:
        if (followed := self._followed.get(name)) is not None:
            followed.see(pod)
        elif pod is not None and self._unclaimed is not None:
            self._unclaimed(pod)
