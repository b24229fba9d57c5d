"""What workflows that are registered already bring to one that refers to them.

A registered workflow was compiled with everything that it needs, so its closure has all its sub-workflows and tasks, at
any depth. Launch plans are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flyteidl.core import compiler_pb2, workflow_pb2

from libs.workflow.compiler.requirements import entity_id
from libs.workflow.identity import EntityId


@dataclass(frozen=True, slots=True)
class Registered:
    """What some registered workflows consist of, each thing once however many of them have it."""

    sub_workflows: tuple[workflow_pb2.WorkflowTemplate, ...]
    """Themselves among them."""
    tasks: tuple[compiler_pb2.CompiledTask, ...]

    @property
    def task_ids(self) -> set[EntityId]:
        return {entity_id(task.template.id) for task in self.tasks}

    def besides(self, given: Iterable[workflow_pb2.WorkflowTemplate]) -> list[workflow_pb2.WorkflowTemplate]:
        """The sub-workflows that are not given: who brings one means that one."""
        ids = {entity_id(one.id) for one in given}
        return [one for one in self.sub_workflows if entity_id(one.id) not in ids]


def registered(closures: Iterable[compiler_pb2.CompiledWorkflowClosure]) -> Registered:
    """What the workflows of these closures consist of."""
    sub_workflows: dict[EntityId, workflow_pb2.WorkflowTemplate] = {}
    tasks: dict[EntityId, compiler_pb2.CompiledTask] = {}
    for closure in closures:
        for workflow in (closure.primary, *closure.sub_workflows):
            sub_workflows.setdefault(entity_id(workflow.template.id), workflow.template)
        for task in closure.tasks:
            tasks.setdefault(entity_id(task.template.id), task)
    return Registered(tuple(sub_workflows.values()), tuple(tasks.values()))
