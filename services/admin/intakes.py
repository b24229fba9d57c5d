"""Intakes: task lists in Redis whose items become executions. Kept here, taken in by the queue service.

A definition is checked when it is added and never changes, so that what is taken in is always checked against the same
inputs. What Redis knows is asked of the queue service: only it needs to reach Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flyteidl.admin import common_pb2

from libs.clients.intakes import Intakes as Taken
from libs.runtime.clock import Clock
from libs.store.intakes import Intakes as Store
from libs.workflow.errors import AirscrewError, AlreadyExists, InvalidArgument, NotFound
from libs.workflow.identity import EntityId
from libs.workflow.intake import DeadItem, Intake, IntakeId, Progress
from services.admin import identifiers
from services.admin.projects import Projects
from services.admin.registry import Registration

_NEWEST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)


@dataclass(frozen=True, slots=True)
class Standing:
    """An intake and how far it is."""

    intake: Intake
    progress: Progress
    pending: int
    """Its executions that are not final."""


class Intakes:
    """Defines intakes and looks after them."""

    def __init__(
        self, store: Store, registration: Registration, projects: Projects, taken: Taken, clock: Clock
    ) -> None:
        self._store = store
        self._registration = registration
        self._projects = projects
        self._taken = taken
        self._clock = clock

    async def add(self, asked: Intake) -> Intake:
        """Defines an intake. The same again changes nothing.

        Raises `InvalidArgument`, `NotFound` for an unknown launch plan, `AlreadyExists` when the name is taken by
        another definition.
        """
        identifiers.fit_project(asked.id.project, "id.project")
        plan = asked.launch_plan
        if (plan.project, plan.domain) != (asked.id.project, asked.id.domain):
            raise InvalidArgument("launch_plan: must be of the project and domain of the intake")
        await self._projects.use(asked.id.project, asked.id.domain, "id")
        intake = replace(asked, launch_plan=await self._version(plan), created_at_us=self._clock.now_us())
        try:
            await self._store.add(intake)
        except AlreadyExists:
            present = await self._store.get(intake.id)
            if replace(present, created_at_us=0, paused=False) != replace(intake, created_at_us=0, paused=False):
                raise
            return present
        return intake

    async def list(self, project: str, domain: str) -> Sequence[Intake]:
        """Those of a project and domain, or (empty) all."""
        return await self._store.list(project, domain)

    async def standing(self, project: str, domain: str) -> Sequence[Standing]:
        """The same, with how far they are. While the queue service is away their notes say so."""
        intakes = await self._store.list(project, domain)
        if not intakes:
            return []
        try:
            progress = await self._taken.progress(intakes)
        except AirscrewError as error:
            progress = [Progress(note=f"the queue service does not answer: {error.message}")] * len(intakes)
        return [
            Standing(intake, one, await self._store.pending(intake.id))
            for intake, one in zip(intakes, progress, strict=True)
        ]

    async def pause(self, id: IntakeId, paused: bool) -> Intake:
        """Pauses or resumes. Raises `NotFound`."""
        await self._store.pause(id, paused)
        return await self._store.get(id)

    async def remove(self, id: IntakeId) -> None:
        """Forgets a definition; what is in Redis stays. Raises `NotFound`."""
        await self._store.remove(id)

    async def pending(self, id: IntakeId) -> int:
        """How many of its executions are not final."""
        return await self._store.pending(id)

    async def dead(self, id: IntakeId, limit: int) -> Sequence[DeadItem]:
        """The oldest items that were given up. Raises `NotFound`."""
        return await self._taken.dead(await self._store.get(id), limit)

    async def replay(self, id: IntakeId, limit: int) -> int:
        """Lets up to so many, all for 0, be taken in once more. Raises `NotFound`."""
        return await self._taken.replay(await self._store.get(id), limit)

    async def _version(self, plan: EntityId) -> EntityId:
        """The launch plan itself, which must exist; without a version the active one, or else the newest."""
        if plan.version:
            return (await self._registration.launch_plan(plan)).id
        try:
            return (await self._registration.active_launch_plan(plan.project, plan.domain, plan.name)).id
        except NotFound:
            named = common_pb2.NamedEntityIdentifier(project=plan.project, domain=plan.domain, name=plan.name)
            request = common_pb2.ResourceListRequest(id=named, limit=1, sort_by=_NEWEST)
            versions = (await self._registration.list_launch_plans(request)).items
            if not versions:
                raise NotFound(f"there is no launch plan {plan.name} in {plan.project}:{plan.domain}") from None
            return versions[0].id
