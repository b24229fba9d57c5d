"""Closures: a workflow with everything that running it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flyteidl.core import (
    compiler_pb2,
    dynamic_job_pb2,
    identifier_pb2,
    interface_pb2,
    tasks_pb2,
    workflow_closure_pb2,
    workflow_pb2,
)

from libs.workflow.compiler.errors import Code, CompileErrors, Report
from libs.workflow.compiler.interfaces import LaunchPlanInterface, Library, of_typed
from libs.workflow.compiler.names import check_names, longest_inside
from libs.workflow.compiler.prepare import prepare
from libs.workflow.compiler.requirements import entity_id, reachable, requirements, sub_workflows_of
from libs.workflow.compiler.tasks import task_errors
from libs.workflow.compiler.typecheck import Typing
from libs.workflow.compiler.wiring import wire
from libs.workflow.identity import END_NODE_ID, START_NODE_ID, EntityId


def compile_workflow(
    template: workflow_pb2.WorkflowTemplate,
    sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = (),
    tasks: Iterable[compiler_pb2.CompiledTask] = (),
    launch_plans: Iterable[LaunchPlanInterface] = (),
) -> compiler_pb2.CompiledWorkflowClosure:
    """Compile a workflow, with those of the sub-workflows and tasks that it uses.

    `requirements` tells which tasks and launch plans must be given. The arguments are not changed. Raises CompileErrors
    with everything that is wrong with the workflow and its sub-workflows.
    """
    known = {entity_id(task.template.id): task for task in tasks}
    used = requirements(template, sub_workflows := list(sub_workflows)).tasks
    return _compile(template, sub_workflows, known, launch_plans, [one for one in used if one in known], Report())


def compile_closure(
    closure: workflow_closure_pb2.WorkflowClosure,
    sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = (),
    tasks: Iterable[compiler_pb2.CompiledTask] = (),
    launch_plans: Iterable[LaunchPlanInterface] = (),
) -> compiler_pb2.CompiledWorkflowClosure:
    """Compile a workflow that brings its own tasks, which all stay with it, used or not, as with Flyte's compiler.

    Tasks that it uses and does not bring are taken from `tasks`. Raises CompileErrors.
    """
    report = Report()
    own = _own_tasks(closure.tasks, report)
    known = {entity_id(task.template.id): task for task in tasks} | own
    used = requirements(closure.workflow, sub_workflows := list(sub_workflows)).tasks
    kept = [*own, *(one for one in used if one in known and one not in own)]
    return _compile(closure.workflow, sub_workflows, known, launch_plans, kept, report)


def compile_dynamic(
    spec: dynamic_job_pb2.DynamicJobSpec,
    workflow: identifier_pb2.Identifier,
    interface: interface_pb2.TypedInterface | None,
    tasks: Iterable[compiler_pb2.CompiledTask] = (),
    launch_plans: Iterable[LaunchPlanInterface] = (),
    sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = (),
) -> compiler_pb2.CompiledWorkflowClosure:
    """Compile what a dynamic task returned, as a workflow with that task's interface, under the id `workflow`.

    Its inputs are in the generated bindings already: only the interface's outputs are used. Without an interface the
    outputs have the types of what is bound to them. Tasks, launch plans and sub-workflows that the specification refers
    to and does not bring (see `dynamic_requirements`) are taken from the arguments. Raises CompileErrors.
    """
    outputs = interface_pb2.VariableMap() if interface is None else interface.outputs
    template = workflow_pb2.WorkflowTemplate(
        id=workflow,
        interface=interface_pb2.TypedInterface(outputs=outputs),
        nodes=spec.nodes,
        outputs=spec.outputs,
    )
    report = Report()
    own = _own_tasks(spec.tasks, report)
    known = {entity_id(task.template.id): task for task in tasks} | own
    # The specification's own sub-workflows win over those that are at hand by the same id.
    brought = {entity_id(one.id) for one in spec.subworkflows}
    all_sub_workflows = [*spec.subworkflows, *(one for one in sub_workflows if entity_id(one.id) not in brought)]
    used = requirements(template, all_sub_workflows).tasks
    kept = [one for one in used if one in known]
    return _compile(template, all_sub_workflows, known, launch_plans, kept, report, infer_outputs=interface is None)


def _own_tasks(
    templates: Iterable[tasks_pb2.TaskTemplate], report: Report
) -> dict[EntityId, compiler_pb2.CompiledTask]:
    """The tasks that a workflow brings, by id; whatever is wrong with them is reported."""
    own: dict[EntityId, compiler_pb2.CompiledTask] = {}
    for template in templates:
        task_id = entity_id(template.id)
        if task_id not in own:
            for error in task_errors(template):
                report.add(error.code, "", f"task {task_id}: {error.message}")
            own[task_id] = compiler_pb2.CompiledTask(template=template)
        elif own[task_id].template != template:
            report.add(Code.VALUE_COLLISION, "", f"two different tasks are called {task_id}: give each its own id")
    return own


def _compile(
    template: workflow_pb2.WorkflowTemplate,
    sub_workflows: Iterable[workflow_pb2.WorkflowTemplate],
    tasks: Mapping[EntityId, compiler_pb2.CompiledTask],
    launch_plans: Iterable[LaunchPlanInterface],
    kept: Iterable[EntityId],
    report: Report,
    infer_outputs: bool = False,
) -> compiler_pb2.CompiledWorkflowClosure:
    known = _index(sub_workflows, report)
    used = reachable(template, known)
    library = Library(
        own=template,
        tasks={task_id: task.template for task_id, task in tasks.items()},
        sub_workflows=used,
        launch_plans={plan.id: plan for plan in launch_plans},
    )
    longest = longest_inside(used, _inner_first(template, used, report))
    check_names(template, longest, report)
    closure = compiler_pb2.CompiledWorkflowClosure()
    closure.primary.CopyFrom(_compile_one(template, library, report, infer_outputs))
    errors = list(report.errors)
    for workflow_id in known:
        if workflow_id in used:
            inner = Report(workflow=str(workflow_id))
            check_names(used[workflow_id], longest, inner)
            closure.sub_workflows.append(_compile_one(used[workflow_id], library, inner))
            errors += inner.errors
    if errors:
        raise CompileErrors(f"workflow {entity_id(template.id)}", errors)
    for task_id in kept:
        task = closure.tasks.add()
        task.CopyFrom(tasks[task_id])
        if task.template.HasField("interface"):
            # Both directions are present in what the compiler returns, however empty.
            task.template.interface.inputs.SetInParent()
            task.template.interface.outputs.SetInParent()
    return closure


def _compile_one(
    template: workflow_pb2.WorkflowTemplate, library: Library, report: Report, infer_outputs: bool = False
) -> compiler_pb2.CompiledWorkflow:
    has_nodes = any(node.id not in (START_NODE_ID, END_NODE_ID) for node in template.nodes)
    if not has_nodes:
        report.add(Code.NO_NODES_FOUND, "", "the workflow has no nodes: add at least one")
    if not template.HasField("id"):
        report.add(Code.VALUE_REQUIRED, "", "the workflow has no id: name it by project, domain, name and version")
    interface = of_typed(template.interface, START_NODE_ID, "the workflow", report)
    if not has_nodes or interface is None:
        return compiler_pb2.CompiledWorkflow()
    scope = prepare(template, report)
    Typing(scope, library, infer_outputs).run(wire(scope))
    return scope.compiled


def _index(
    sub_workflows: Iterable[workflow_pb2.WorkflowTemplate], report: Report
) -> dict[EntityId, workflow_pb2.WorkflowTemplate]:
    known: dict[EntityId, workflow_pb2.WorkflowTemplate] = {}
    for template in sub_workflows:
        workflow_id = entity_id(template.id)
        if workflow_id in known:
            report.add(Code.DUPLICATE_ID, "", f"sub-workflow {workflow_id} is given more than once: send it once")
        known[workflow_id] = template
    return known


def _inner_first(
    template: workflow_pb2.WorkflowTemplate, used: Mapping[EntityId, workflow_pb2.WorkflowTemplate], report: Report
) -> list[EntityId]:
    """The sub-workflows, each after those that it contains.

    Reports, and leaves out, those that contain themselves: a workflow may run itself through a launch plan, which ends
    by a condition, but cannot contain itself.
    """
    own = entity_id(template.id)
    contained = {workflow_id: set(sub_workflows_of(one)) & {own, *used} for workflow_id, one in used.items()}
    contained[own] = set(sub_workflows_of(template)) & {own, *used}
    # Take away, again and again, what contains nothing that is left. What remains contains itself, or such a thing.
    containers: dict[EntityId, list[EntityId]] = {}
    for workflow_id, inner in contained.items():
        for one in inner:
            containers.setdefault(one, []).append(workflow_id)
    leaves = [workflow_id for workflow_id, inner in contained.items() if not inner]
    ordered = []
    while leaves:
        leaf = leaves.pop()
        del contained[leaf]
        ordered.append(leaf)
        for container in containers.get(leaf, ()):
            contained[container].discard(leaf)
            if not contained[container]:
                leaves.append(container)
    if contained:
        names = ", ".join(sorted(map(str, contained)))
        report.add(
            Code.CYCLE_DETECTED,
            "",
            f"sub-workflows contain themselves: {names}: run the inner one as a launch plan instead",
        )
    return [workflow_id for workflow_id in ordered if workflow_id in used]
