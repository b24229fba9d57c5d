"""Projects and domains.

Domains belong to the installation. Projects are recorded when they are first used: flytekit never creates them, and
FlyteAdmin's refusal of an unknown project is the first thing that a new user of a fresh Flyte runs into. So any name
that is fit to be a project is accepted wherever something is to be stored; reading from an unknown one finds nothing.
"""

from __future__ import annotations

from flyteidl.admin import common_pb2, project_pb2

from libs.runtime.clock import Clock
from libs.store.query import Query
from libs.store.records import Page, ProjectRecord
from libs.store.registry import Registry
from libs.workflow.errors import AlreadyExists, InvalidArgument
from services.admin import identifiers

DEFAULT_PROJECT = "flytesnacks"
"""Where flytekit puts what names no project; it exists from the start, as in every Flyte."""


class Projects:
    """Knows the domains, and records projects."""

    def __init__(self, registry: Registry, clock: Clock, domains: tuple[str, ...]) -> None:
        self._registry = registry
        self._clock = clock
        self.domains = domains
        # Projects are never deleted, so that what was seen once need not be looked up again.
        self._seen: set[str] = set()

    async def use(self, project: str, domain: str, field: str = "") -> None:
        """Makes sure that something may be stored under the project and domain; `field` is where they stand in the
        request. Raises `InvalidArgument` for an unfit project or an unknown domain."""
        prefix = f"{field}." if field else ""
        identifiers.fit_project(project, f"{prefix}project")
        if domain not in self.domains:
            raise InvalidArgument(f"{prefix}domain: {domain!r} is none of {', '.join(self.domains)}")
        if project in self._seen:
            return
        await self._record(project, project, "")
        self._seen.add(project)

    async def register(self, request: project_pb2.ProjectRegisterRequest) -> None:
        """Records a project with a name and a description. `AlreadyExists` when it is there."""
        project = request.project
        identifiers.fit_project(project.id, "project.id")
        created = await self._record(project.id, project.name or project.id, project.description)
        if not created:
            raise AlreadyExists(f"project.id: {project.id} exists already")

    async def list(self, query: Query) -> Page[ProjectRecord]:
        """The projects, the default one among them."""
        if DEFAULT_PROJECT not in self._seen:
            await self.use(DEFAULT_PROJECT, self.domains[0])
        return await self._registry.list_projects(query)

    async def _record(self, project: str, name: str, description: str) -> bool:
        labels = common_pb2.Labels().SerializeToString()
        state = project_pb2.Project.ACTIVE
        record = ProjectRecord(project, name, description, labels, state, self._clock.now_us())
        try:
            await self._registry.create_project(record)
        except AlreadyExists:
            return False
        return True
