"""What can be launched: a launch plan, or a task on its own; read once and then known, because versions never
change."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from flyteidl.admin import launch_plan_pb2, task_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, interface_pb2, literals_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2

from libs.workflow import launch
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from services.admin import identifiers
from services.admin.registry import Registration, workflow_of_task

_CAPACITY = 1024
"""Targets that are remembered. One is a few kilobytes; those that are launched often are few."""

Key = TypeVar("Key")
Value = TypeVar("Value")

_KINDS = (identifier_pb2.LAUNCH_PLAN, identifier_pb2.TASK)


@dataclass(frozen=True, slots=True)
class Target:
    """What an execution launches."""

    id: EntityId
    """Of the launch plan or task."""
    kind: int
    """Which of the two: a number of `core.ResourceType`."""
    workflow: EntityId
    """What runs."""
    asked: launch.Asked
    """The inputs that it asks for."""
    plan: launch_plan_pb2.LaunchPlanSpec | None
    """With its workflow's quality of service, if it says nothing about that itself. None for a task on its own."""
    task: compiler_pb2.CompiledTask | None
    """None for a launch plan."""


class Targets:
    """Finds targets."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration
        self._known: OrderedDict[tuple[int, EntityId], Target] = OrderedDict()
        self._reading: dict[tuple[int, EntityId], asyncio.Task[Target]] = {}
        self._registered: OrderedDict[EntityId, None] = OrderedDict()
        """Workflows of single tasks that are known to be registered."""

    async def find(self, reference: identifier_pb2.Identifier) -> Target:
        """The target that `spec.launch_plan` of a request names: a launch plan, unless its resource type says TASK.

        Raises `NotFound`, and `InvalidArgument` for any other kind.
        """
        kind = reference.resource_type or identifier_pb2.LAUNCH_PLAN
        if kind not in _KINDS:
            name = identifiers.kind_name(kind)
            raise InvalidArgument(
                f"spec.launch_plan.resource_type: is {name}, only LAUNCH_PLAN and TASK can be launched"
            )
        id = identifiers.entity(reference, kind, "spec.launch_plan")
        target = self._known.get((kind, id))
        if target is None:
            return await self._read(kind, id)
        self._known.move_to_end((kind, id))
        return target

    async def register(self, target: Target) -> None:
        """Sees to it that what the target runs is registered, as launching it needs."""
        if target.task is None or target.workflow in self._registered:
            return
        await self._registration.register_workflow_of_task(target.task)
        remember(self._registered, target.workflow, None)

    async def _read(self, kind: int, id: EntityId) -> Target:
        """Reads a target once for all who ask meanwhile, as after a start, when a burst of launches finds nothing
        known. They share its failure too: a database that is away is waited for once."""
        reading = self._reading.get((kind, id))
        if reading is None:
            work = self._task(id) if kind == identifier_pb2.TASK else self._launch_plan(id)
            reading = asyncio.create_task(work, name=f"read {id}")
            self._reading[kind, id] = reading
            reading.add_done_callback(lambda done: self._have_read((kind, id), done))
        return await asyncio.shield(reading)  # one caller that leaves must not take it from the others

    def _have_read(self, key: tuple[int, EntityId], done: asyncio.Task[Target]) -> None:
        del self._reading[key]
        if not done.cancelled() and done.exception() is None:
            remember(self._known, key, done.result())

    async def _launch_plan(self, id: EntityId) -> Target:
        record = await self._registration.launch_plan(id)
        plan = launch_plan_pb2.LaunchPlanSpec.FromString(record.spec)
        if not plan.HasField("quality_of_service"):
            closure = (await self._registration.workflow(record.workflow)).closure
            plan.quality_of_service.CopyFrom(await asyncio.to_thread(_quality_of_service, closure))
        return Target(
            id=id,
            kind=identifier_pb2.LAUNCH_PLAN,
            workflow=record.workflow,
            asked=launch.Asked(interface_pb2.ParameterMap.FromString(record.expected_inputs), plan.fixed_inputs),
            plan=plan,
            task=None,
        )

    async def _task(self, id: EntityId) -> Target:
        record = await self._registration.task(id)
        task = task_pb2.TaskClosure.FromString(record.closure).compiled_task
        return Target(
            id=id,
            kind=identifier_pb2.TASK,
            workflow=workflow_of_task(id),
            asked=launch.Asked(launch.expected_inputs(task.template.interface.inputs), literals_pb2.LiteralMap()),
            plan=None,
            task=task,
        )


def _quality_of_service(closure: bytes) -> core_execution_pb2.QualityOfService:
    """What a compiled workflow says of its urgency. Large ones take their time to be read."""
    template = compiler_pb2.CompiledWorkflowClosure.FromString(closure).primary.template
    return template.metadata.quality_of_service


def remember(known: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Keeps what was used of late."""
    known[key] = value
    known.move_to_end(key)
    if len(known) > _CAPACITY:
        known.popitem(last=False)
