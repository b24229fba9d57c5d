"""What can be launched: a launch plan, or a task on its own; read once and then known, because versions never
change."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from flyteidl.admin import launch_plan_pb2, task_pb2
from flyteidl.core import identifier_pb2, interface_pb2

from libs.workflow import launch
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from services.admin import identifiers
from services.admin.registry import Registration

_CAPACITY = 1024
"""Targets that are remembered. One is a few kilobytes; those that are launched often are few."""

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
    expected: interface_pb2.ParameterMap
    plan: launch_plan_pb2.LaunchPlanSpec | None
    """None for a task on its own."""


class Targets:
    """Finds targets."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration
        self._known: OrderedDict[tuple[int, EntityId], Target] = OrderedDict()

    async def find(self, reference: identifier_pb2.Identifier) -> Target:
        """The target that `spec.launch_plan` of a request names: a launch plan, unless its resource type says TASK.

        Raises `NotFound`, and `InvalidArgument` for any other kind.
        """
        kind = reference.resource_type or identifier_pb2.LAUNCH_PLAN
        if kind not in _KINDS:
            name = identifier_pb2.ResourceType.Name(kind)
            raise InvalidArgument(
                f"spec.launch_plan.resource_type: is {name}, only LAUNCH_PLAN and TASK can be launched"
            )
        id = identifiers.entity(reference, kind, "spec.launch_plan")
        target = self._known.get((kind, id))
        if target is None:
            target = await (self._task(id) if kind == identifier_pb2.TASK else self._launch_plan(id))
            self._known[kind, id] = target
            if len(self._known) > _CAPACITY:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end((kind, id))
        return target

    async def _launch_plan(self, id: EntityId) -> Target:
        record = await self._registration.launch_plan(id)
        return Target(
            id=id,
            kind=identifier_pb2.LAUNCH_PLAN,
            workflow=record.workflow,
            expected=interface_pb2.ParameterMap.FromString(record.expected_inputs),
            plan=launch_plan_pb2.LaunchPlanSpec.FromString(record.spec),
        )

    async def _task(self, id: EntityId) -> Target:
        record = await self._registration.task(id)
        template = task_pb2.TaskClosure.FromString(record.closure).compiled_task.template
        return Target(
            id=id,
            kind=identifier_pb2.TASK,
            workflow=await self._registration.workflow_of_task(record),
            expected=launch.expected_inputs(template.interface.inputs),
            plan=None,
        )
