"""Specifications that belong together and need no server: what one refers to is looked for among the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias, TypeVar

from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import (
    compiler_pb2,
    dynamic_job_pb2,
    identifier_pb2,
    tasks_pb2,
    workflow_closure_pb2,
)
from flyteidl.core import workflow_pb2 as core_workflow_pb2

from libs.workflow.compiler.closure import compile_closure, compile_dynamic, compile_workflow
from libs.workflow.compiler.errors import Code, CompileError, CompileErrors
from libs.workflow.compiler.interfaces import LaunchPlanInterface
from libs.workflow.compiler.plans import compile_launch_plan
from libs.workflow.compiler.requirements import dynamic_requirements, entity_id, requirements
from libs.workflow.compiler.tasks import task_errors
from libs.workflow.identity import EntityId

Spec: TypeAlias = (
    task_pb2.TaskSpec
    | workflow_pb2.WorkflowSpec
    | workflow_closure_pb2.WorkflowClosure
    | dynamic_job_pb2.DynamicJobSpec
    | launch_plan_pb2.LaunchPlan
)
_Template: TypeAlias = core_workflow_pb2.WorkflowTemplate
_T = TypeVar("_T", tasks_pb2.TaskTemplate, core_workflow_pb2.WorkflowTemplate)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one specification."""

    name: str
    compiled: compiler_pb2.CompiledTask | compiler_pb2.CompiledWorkflowClosure | None
    """None if it is wrong, and for a launch plan, which is checked and has no compiled form."""
    errors: tuple[CompileError, ...]


def compile_together(specs: Mapping[str, Spec]) -> list[Outcome]:
    """Compile named specifications; each has an outcome, in their order.

    The names are those of files; a dynamic job, which does not say what it is called, is called like its file. An id
    that stands for two different things is an error of whoever refers to it. Nothing is raised: a mistake in one leaves
    the others alone.
    """
    together = _Together(specs)
    return [together.outcome(name, spec) for name, spec in specs.items()]


class _Together:
    """What there is, by id; of what is defined twice, the first.

    A broken task is known all the same: its users are not to blame.
    """

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._tasks: dict[EntityId, tasks_pb2.TaskTemplate] = {}
        self._workflows: dict[EntityId, _Template] = {}
        self._ambiguous: set[EntityId] = set()
        for spec in specs.values():
            if isinstance(spec, task_pb2.TaskSpec):
                self._define(self._tasks, spec.template)
            elif (template := _template(spec)) is not None:
                self._define(self._workflows, template)
        self._compiled_tasks = [compiler_pb2.CompiledTask(template=one) for one in self._tasks.values()]
        self._plans: dict[EntityId, LaunchPlanInterface | CompileErrors] = {}
        for spec in specs.values():
            if isinstance(spec, launch_plan_pb2.LaunchPlan):
                self._plans.setdefault(entity_id(spec.id), self._plan(spec))
        self._known_plans = [one for one in self._plans.values() if isinstance(one, LaunchPlanInterface)]

    def _define(self, known: dict[EntityId, _T], template: _T) -> None:
        id = entity_id(template.id)
        if known.setdefault(id, template) != template:
            self._ambiguous.add(id)

    def outcome(self, name: str, spec: Spec) -> Outcome:
        errors = self._collisions(spec)
        try:
            compiled = self._compile(name, spec)
        except CompileErrors as found:
            return Outcome(name, None, (*errors, *found.errors))
        return Outcome(name, None if errors else compiled, tuple(errors))

    def _compile(
        self, name: str, spec: Spec
    ) -> compiler_pb2.CompiledTask | compiler_pb2.CompiledWorkflowClosure | None:
        match spec:
            case task_pb2.TaskSpec():
                if errors := task_errors(spec.template):
                    raise CompileErrors(f"task {entity_id(spec.template.id)}", errors)
                return compiler_pb2.CompiledTask(template=spec.template)
            case launch_plan_pb2.LaunchPlan():
                if isinstance(broken := self._plan(spec), CompileErrors):
                    raise broken
                return None
            case dynamic_job_pb2.DynamicJobSpec():
                called = PurePosixPath(name).stem
                workflow = identifier_pb2.Identifier(resource_type=identifier_pb2.WORKFLOW, name=called)
                others = self._other_workflows(spec.subworkflows)
                return compile_dynamic(spec, workflow, None, self._compiled_tasks, self._known_plans, others)
            case workflow_closure_pb2.WorkflowClosure():
                others = self._other_workflows([spec.workflow])
                return compile_closure(spec, others, self._compiled_tasks, self._known_plans)
            case _:
                others = self._other_workflows([spec.template, *spec.sub_workflows])
                sub_workflows = [*spec.sub_workflows, *others]
                return compile_workflow(spec.template, sub_workflows, self._compiled_tasks, self._known_plans)

    def _plan(self, plan: launch_plan_pb2.LaunchPlan) -> LaunchPlanInterface | CompileErrors:
        template = self._workflows.get(entity_id(plan.spec.workflow_id))
        try:
            return compile_launch_plan(plan, None if template is None else template.interface)
        except CompileErrors as errors:
            return errors

    def _other_workflows(self, own: Iterable[_Template]) -> list[_Template]:
        """The workflows that a specification may refer to without bringing them."""
        brought = {entity_id(one.id) for one in own}
        return [one for id, one in self._workflows.items() if id not in brought]

    def _collisions(self, spec: Spec) -> list[CompileError]:
        """References of a specification to what is defined twice: which one is meant, nobody can tell."""
        referred: Iterable[EntityId] = ()
        match spec:
            case workflow_pb2.WorkflowSpec():
                needed = requirements(spec.template, spec.sub_workflows)
                referred = (*needed.tasks, *needed.sub_workflows)
            case workflow_closure_pb2.WorkflowClosure():
                own = {entity_id(task.id) for task in spec.tasks}
                needed = requirements(spec.workflow)
                referred = (*(task for task in needed.tasks if task not in own), *needed.sub_workflows)
            case dynamic_job_pb2.DynamicJobSpec():
                needed = dynamic_requirements(spec)
                referred = (*needed.tasks, *needed.sub_workflows)
            case launch_plan_pb2.LaunchPlan():
                referred = (entity_id(spec.spec.workflow_id),)
        return [
            CompileError(Code.VALUE_COLLISION, "", f"files define {one} in different ways: leave all but one out")
            for one in referred
            if one in self._ambiguous
        ]


def _template(spec: Spec) -> _Template | None:
    """The workflow that a specification is of; a dynamic job has none with an id."""
    match spec:
        case workflow_pb2.WorkflowSpec():
            return spec.template
        case workflow_closure_pb2.WorkflowClosure():
            return spec.workflow
    return None
