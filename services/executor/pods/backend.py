"""Pods as a backend of the executor: which attempts become pods, and what is done with those that it finds.

At its start an executor lists what an earlier life of it has left: attempts that have not ended are adopted, whatever
else carries its label is removed. From then on, too, a pod that no attempt knows is removed whenever it is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from flyteidl.core import tasks_pb2

from libs.runtime.backoff import Backoff
from libs.workflow import errors
from libs.workflow.supported import ECHO
from services.executor.attempts import Attempts, Kind
from services.executor.echo import EchoAttempt
from services.executor.pods import home, record
from services.executor.pods.fleet import Fleet
from services.executor.pods.podattempt import PodAttempt
from services.executor.pods.refusals import Refused, Unreachable

logger = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = (0.2, 10.0)
_ASK_SECONDS: Final = 5.0
"""How long a stopping executor asks whether it is still wanted."""


class Pods:
    """Belongs to one event loop."""

    def __init__(self, fleet: Fleet, own_pod: str) -> None:
        """`own_pod` is the name of the pod that the executor itself is, if it is one."""
        self._fleet = fleet
        self._own_pod = own_pod
        self._home = home.Home()

    def kind(self, template: tasks_pb2.TaskTemplate) -> Kind:
        """What runs a task."""
        return EchoAttempt if template.type == ECHO else functools.partial(PodAttempt, self._fleet)

    @property
    def trouble(self) -> str:
        """Why nothing new can be taken on for now; empty when it can."""
        return self._fleet.informer.trouble

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watches the cluster's pods, and removes those that are done, to the end of the block, which ends if any of
        this does.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._fleet.informer.run(), name="watch pods"),
                    group.create_task(self._fleet.reaper.run(), name="reap pods"),
                    group.create_task(self._fleet.logs.run(), name="copy logs"),
                ]
                yield
                for task in tasks:
                    task.cancel()
        finally:
            await self._fleet.cluster.close()

    async def adopt(self, attempts: Attempts) -> None:
        """Goes on with what an earlier life has left. Waits until the cluster answers."""
        self._home = await self._find_home()
        shape = self._fleet.shape
        pilot = replace(shape.pilot, image=shape.pilot.image or self._home.image)
        self._fleet.shape = replace(shape, owner=self._home.owner, pilot=pilot)
        for pod in await self._fleet.informer.known():
            if record.ENDED in (pod["metadata"].get("labels") or {}):
                continue
            try:
                assignment, template = record.read(pod)
            except errors.InvalidArgument as error:
                logger.error("a pod with our label is removed: %s", error)
                continue
            if not attempts.is_reported(assignment.id):
                attempts.adopt(functools.partial(PodAttempt, self._fleet, found=pod), assignment, template)
        self._fleet.informer.report_unclaimed(self._fleet.reaper.unclaimed)

    async def is_kept(self) -> bool:
        """Whether an executor of this name comes back when this one ends."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                return await self._home.is_kept(self._fleet.cluster)
        except TimeoutError:
            logger.warning("it is not known whether this executor is still wanted, so it is taken to be")
            return True

    async def _find_home(self) -> home.Home:
        backoff = Backoff(*_AGAIN_SECONDS)
        while True:
            try:
                return await home.find(self._fleet.cluster, self._own_pod)
            except (Refused, Unreachable) as error:
                logger.warning("the executor's own pod cannot be read: %s", error)
                await asyncio.sleep(backoff.next())
