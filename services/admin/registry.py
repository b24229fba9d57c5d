"""Registration: from a client's template to an immutable version that can run.

Whatever is stored has been compiled, so that an execution can't fail for a reason that was known when its workflow was
registered. The same version may be registered again: clients do so on every run. Two templates are the same when their
structure is, whatever the order in which a set or map was written.

Everything is checked before anything is stored, and a registration stores one row: a refused request leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from flyteidl.admin import common_pb2, launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, interface_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2
from google.protobuf.message import Message

from libs.runtime.clock import Clock
from libs.store.query import Query
from libs.store.records import LaunchPlanRecord, NamedId, Page, TaskRecord, WorkflowRecord
from libs.store.registry import Kind, Registry
from libs.workflow import compiler, launch, structure, supported
from libs.workflow.backend import Backend
from libs.workflow.errors import AlreadyExists, InvalidArgument, NotFound
from libs.workflow.identity import EntityId
from services.admin import encode, identifiers, paging
from services.admin.projects import Projects

_KINDS = {
    identifier_pb2.TASK: Kind.TASK,
    identifier_pb2.WORKFLOW: Kind.WORKFLOW,
    identifier_pb2.LAUNCH_PLAN: Kind.LAUNCH_PLAN,
}

_QUERIES = 8
"""How much of what a workflow refers to is read at a time: as many as the store has connections."""

Found = TypeVar("Found")


class Registration:
    """Takes registrations; finds what is registered."""

    def __init__(self, store: Registry, projects: Projects, clock: Clock, backend: Backend) -> None:
        """`backend` is how tasks are run: what it cannot run is refused."""
        self.backend = backend
        self._store = store
        self._projects = projects
        self._clock = clock

    # ------------------------------------------------------------------------------------------------------------ tasks

    async def create_task(self, request: task_pb2.TaskCreateRequest) -> None:
        """Registers a task. `AlreadyExists` if it is the same as one that exists, `InvalidArgument` if it differs."""
        id = identifiers.new_entity(request.id, identifier_pb2.TASK)
        spec = task_pb2.TaskSpec()
        spec.CopyFrom(request.spec)
        _name_template(spec, request.id)
        identifiers.required(spec.template.type, "spec.template.type")
        supported.refuse_unbuilt_task(spec.template, self.backend)
        compiled = compiler.compile_task(spec.template)
        await self._projects.use(id.project, id.domain, "id")
        now_us = self._clock.now_us()
        closure = task_pb2.TaskClosure(compiled_task=compiled, created_at=encode.timestamp(now_us))
        record = TaskRecord(
            id=id,
            type=spec.template.type,
            digest=structure.digest(spec),
            spec=spec.SerializeToString(),
            closure=closure.SerializeToString(),
            created_at_us=now_us,
        )
        await _create(self._store.create_task, record, self._store.get_task, spec)

    async def task(self, id: EntityId) -> TaskRecord:
        """Raises `NotFound`."""
        return await self._store.get_task(id)

    async def list_tasks(self, request: common_pb2.ResourceListRequest) -> Page[TaskRecord]:
        """Versions of tasks."""
        return await self._store.list_tasks(_query(request))

    # -------------------------------------------------------------------------------------------------------- workflows

    async def create_workflow(self, request: workflow_pb2.WorkflowCreateRequest) -> None:
        """Registers a workflow with its sub-workflows; those that it names and does not bring must be registered.

        Raises as `create_task`, and `InvalidArgument` with everything that is wrong with it, `Unimplemented` for what
        can't be run yet.
        """
        id = identifiers.new_entity(request.id, identifier_pb2.WORKFLOW)
        if id.name.startswith(launch.GENERATED_PREFIX):
            raise InvalidArgument(
                f"id.name: names with {launch.GENERATED_PREFIX!r} are made for executions of one task"
            )
        spec = workflow_pb2.WorkflowSpec()
        spec.CopyFrom(request.spec)
        _name_template(spec, request.id)
        closure = await self._compile(spec)
        await self._projects.use(id.project, id.domain, "id")
        record = self._workflow_record(id, spec, closure)
        await _create(self._store.create_workflow, record, self._store.get_workflow, spec)

    async def workflow(self, id: EntityId) -> WorkflowRecord:
        """Raises `NotFound`."""
        return await self._store.get_workflow(id)

    async def list_workflows(self, request: common_pb2.ResourceListRequest) -> Page[WorkflowRecord]:
        """Versions of workflows, without their closures."""
        return await self._store.list_workflows(_query(request))

    async def register_workflow_of_task(self, task: compiler_pb2.CompiledTask) -> None:
        """Registers the workflow that runs this task on its own. Harmless when it is registered."""
        spec = workflow_pb2.WorkflowSpec(template=launch.task_workflow(task.template))
        id = identifiers.entity(spec.template.id, identifier_pb2.WORKFLOW)
        closure = compiler.compile_workflow(spec.template, (), [task])
        # Another structure is one that an older release of ours generated: it runs the same task.
        with suppress(AlreadyExists, InvalidArgument):
            await self._store.create_workflow(self._workflow_record(id, spec, closure))

    async def _compile(self, spec: workflow_pb2.WorkflowSpec) -> compiler_pb2.CompiledWorkflowClosure:
        sub_workflows, of_these = await self._sub_workflows(spec)
        required = compiler.requirements(spec.template, sub_workflows)
        known = {identifiers.entity(task.template.id, identifier_pb2.TASK) for task in of_these}
        tasks, plans = await asyncio.gather(
            _registered([task for task in required.tasks if task not in known], self._compiled_task),
            _registered(required.launch_plans, self._interface),
        )
        # In a thread, because thousands of nodes take seconds, in which everybody else would wait.
        return await asyncio.to_thread(
            compiler.compile_workflow, spec.template, sub_workflows, [*tasks, *of_these], plans
        )

    async def _sub_workflows(
        self, spec: workflow_pb2.WorkflowSpec
    ) -> tuple[list[core_workflow_pb2.WorkflowTemplate], list[compiler_pb2.CompiledTask]]:
        """Those that come along, and those that are only named, with the tasks of the latter.

        In rounds: what comes along may be part of what is only named, and name others in turn.
        """
        sub_workflows, tasks = list(spec.sub_workflows), list[compiler_pb2.CompiledTask]()
        asked: set[EntityId] = set()
        while missing := set(compiler.requirements(spec.template, sub_workflows).sub_workflows) - asked:
            asked |= missing
            found = compiler.registered(await _registered(sorted(missing), self._closure))
            sub_workflows += found.besides(sub_workflows)
            tasks += found.tasks
        return sub_workflows, tasks

    async def _closure(self, id: EntityId) -> compiler_pb2.CompiledWorkflowClosure:
        return compiler_pb2.CompiledWorkflowClosure.FromString((await self._store.get_workflow(id)).closure)

    async def _compiled_task(self, id: EntityId) -> compiler_pb2.CompiledTask:
        return task_pb2.TaskClosure.FromString((await self._store.get_task(id)).closure).compiled_task

    async def _interface(self, id: EntityId) -> compiler.LaunchPlanInterface:
        record = await self._store.get_launch_plan(id)
        return compiler.LaunchPlanInterface(
            id=id,
            inputs=interface_pb2.ParameterMap.FromString(record.expected_inputs),
            outputs=interface_pb2.VariableMap.FromString(record.expected_outputs),
        )

    def _workflow_record(
        self, id: EntityId, spec: workflow_pb2.WorkflowSpec, closure: compiler_pb2.CompiledWorkflowClosure
    ) -> WorkflowRecord:
        return WorkflowRecord(
            id=id,
            digest=structure.digest(spec),
            spec=spec.SerializeToString(),
            closure=closure.SerializeToString(),
            created_at_us=self._clock.now_us(),
        )

    # ----------------------------------------------------------------------------------------------------- launch plans

    async def create_launch_plan(self, request: launch_plan_pb2.LaunchPlanCreateRequest) -> None:
        """Registers a launch plan, inactive. Raises as `create_task`, and `NotFound` when its workflow is unknown."""
        id = identifiers.new_entity(request.id, identifier_pb2.LAUNCH_PLAN)
        spec = request.spec
        workflow_id = identifiers.entity(spec.workflow_id, identifier_pb2.WORKFLOW, "spec.workflow_id")
        if spec.max_parallelism < 0:
            raise InvalidArgument(f"spec.max_parallelism: {spec.max_parallelism} is negative")
        workflow = await self._store.get_workflow(workflow_id)
        closure = compiler_pb2.CompiledWorkflowClosure.FromString(workflow.closure)
        interface = closure.primary.template.interface
        expected = launch.expected_inputs(interface.inputs, spec)
        await self._projects.use(id.project, id.domain, "id")
        now_us = self._clock.now_us()
        record = LaunchPlanRecord(
            id=id,
            workflow=workflow_id,
            digest=structure.digest(spec),
            spec=spec.SerializeToString(),
            expected_inputs=expected.SerializeToString(),
            expected_outputs=launch.expected_outputs(interface).SerializeToString(),
            state=launch_plan_pb2.INACTIVE,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        await _create(self._store.create_launch_plan, record, self._store.get_launch_plan, spec)

    async def launch_plan(self, id: EntityId) -> LaunchPlanRecord:
        """Raises `NotFound`."""
        return await self._store.get_launch_plan(id)

    async def active_launch_plan(self, project: str, domain: str, name: str) -> LaunchPlanRecord:
        """The active version of a launch plan. Raises `NotFound` when there is none."""
        return await self._store.get_active_launch_plan(project, domain, name)

    async def list_launch_plans(self, request: common_pb2.ResourceListRequest) -> Page[LaunchPlanRecord]:
        """Versions of launch plans."""
        return await self._store.list_launch_plans(_query(request))

    async def list_active_launch_plans(
        self, request: launch_plan_pb2.ActiveLaunchPlanListRequest
    ) -> Page[LaunchPlanRecord]:
        """The active launch plans of a project and domain."""
        return await self._store.list_launch_plans(_query_of_domain(request), active_only=True)

    async def set_state(self, id: EntityId, state: int) -> None:
        """Activates a version, and deactivates the one that was active; or deactivates it.

        Raises `Unimplemented` for a launch plan with a schedule: active, it would have to run by itself.
        """
        if state == launch_plan_pb2.INACTIVE:
            await self._store.deactivate_launch_plan(id, self._clock.now_us())
            return
        if state != launch_plan_pb2.ACTIVE:
            raise InvalidArgument(f"state: {state} is neither ACTIVE nor INACTIVE")
        record = await self._store.get_launch_plan(id)
        supported.refuse_unbuilt_activation(launch_plan_pb2.LaunchPlanSpec.FromString(record.spec))
        await self._store.activate_launch_plan(id, self._clock.now_us())

    # ------------------------------------------------------------------------------------------------------------ names

    async def list_ids(self, kind: int, request: common_pb2.NamedEntityIdentifierListRequest) -> Page[NamedId]:
        """Names of what is registered in a project and domain. `kind` is a number of `core.ResourceType`."""
        return await self._store.list_ids(_KINDS[kind], _query_of_domain(request))


def workflow_of_task(task: EntityId) -> EntityId:
    """The id of the workflow that runs this task on its own."""
    return task._replace(name=launch.GENERATED_PREFIX + task.name)


async def _registered(ids: Iterable[EntityId], get: Callable[[EntityId], Awaitable[Found]]) -> list[Found]:
    """Those that exist; the compiler tells which are missing, and where."""
    places = asyncio.Semaphore(_QUERIES)

    async def find(id: EntityId) -> list[Found]:
        async with places:
            try:
                return [await get(id)]
            except NotFound:
                return []

    return [one for found in await asyncio.gather(*map(find, ids)) for one in found]


def _query(request: common_pb2.ResourceListRequest) -> Query:
    project, domain, name = identifiers.listed(request.id)
    return paging.query(request, project=project, domain=domain, name=name)


def _query_of_domain(request: Any) -> Query:
    """Of a list request that says project and domain itself instead of by an id."""
    project, domain = (identifiers.required(getattr(request, part), part) for part in ("project", "domain"))
    return paging.query(request, project=project, domain=domain)


def _name_template(spec: Any, id: identifier_pb2.Identifier) -> None:
    """Gives the template of a specification the id under which it is registered; refuses one that has another."""
    if not spec.HasField("template"):
        raise InvalidArgument("spec.template: missing")
    own, kind = spec.template.id, id.resource_type
    if spec.template.HasField("id") and identifiers.entity(own, kind, "spec.template.id") != identifiers.entity(
        id, kind
    ):
        raise InvalidArgument("spec.template.id: is not the id under which the template is registered")
    own.CopyFrom(id)


async def _create(
    create: Callable[[Any], Awaitable[None]], record: Any, get: Callable[[EntityId], Awaitable[Any]], spec: Message
) -> None:
    """Stores a version. When one of another structure exists, the refusal says how they differ."""
    try:
        await create(record)
    except InvalidArgument as error:
        stored = type(spec)()
        stored.ParseFromString((await get(record.id)).spec)
        raise InvalidArgument(f"{error.message}. {structure.difference(stored, spec)}") from error
