"""What becomes of each field that a user may set in a task, workflow, launch plan or execution.

No field is silently ignored. Each is one of

- *enforced*: it does what Flyte says it does;
- *recorded*: it is stored and echoed and has no effect, and the documentation says so;
- *refused*: whoever sets it gets UNIMPLEMENTED with the field's path and the reason.

`FIELDS` is the whole truth: the functions below only walk messages along it, and the documentation is made from it. It
lists every field of every message that it names, which a test asserts: a field that a newer flyteidl brings fails that
test until somebody has decided what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from flyteidl.admin import execution_pb2, launch_plan_pb2
from flyteidl.core import interface_pb2, security_pb2, tasks_pb2, workflow_pb2
from google.protobuf.message import Message

from libs.workflow.compiler.requirements import entity_id
from libs.workflow.errors import Unimplemented


class Fate(StrEnum):
    """What becomes of a field that is set."""

    ENFORCED = "enforced"
    RECORDED = "recorded"
    REFUSED = "refused"


class Rule(NamedTuple):
    """The fate of one field, and why: for a refusal the text that the user reads after the field's path."""

    fate: Fate
    reason: str = ""


def _recorded(reason: str) -> Rule:
    return Rule(Fate.RECORDED, reason)


def _refused(reason: str) -> Rule:
    return Rule(Fate.REFUSED, reason)


_ENFORCED: Final = Rule(Fate.ENFORCED)
_NO_CACHE: Final = _refused("caching of results is not built yet: register the task without cache")
_ONLY_WITH_CACHE: Final = _recorded("has a meaning only with caching, which is refused")
_NO_POD: Final = _refused("pods are not built yet: use a task without pod template")
_ON_PREEMPTIBLE: Final = _recorded("all executors are alike: none is preemptible")
_IDENTITY: Final = _recorded("task processes run as the executor's user")
_ONE_CLUSTER: Final = _recorded("there is one cluster")
_NOBODY_NOTIFIED: Final = _recorded("no notifications are sent")
_NO_CLASSES: Final = _recorded("all work has the same priority")
_NO_ENVIRONMENTS: Final = _refused("execution environments that outlive a task are not built yet")
_NO_ARTIFACTS: Final = _recorded("there is no artifact service")

FIELDS: Final[Mapping[str, Mapping[str, Rule]]] = {
    workflow_pb2.WorkflowTemplate.DESCRIPTOR.full_name: {
        "id": _ENFORCED,
        "metadata": _ENFORCED,
        "interface": _ENFORCED,
        "nodes": _ENFORCED,
        "outputs": _ENFORCED,
        "failure_node": _refused("failure nodes are not built yet: register the workflow without on_failure"),
        "metadata_defaults": _ENFORCED,
    },
    workflow_pb2.WorkflowMetadata.DESCRIPTOR.full_name: {
        "quality_of_service": _NO_CLASSES,
        "on_failure": _ENFORCED,
        "tags": _recorded("for people"),
    },
    workflow_pb2.WorkflowMetadataDefaults.DESCRIPTOR.full_name: {"interruptible": _ON_PREEMPTIBLE},
    workflow_pb2.Node.DESCRIPTOR.full_name: {
        "id": _ENFORCED,
        "metadata": _ENFORCED,
        "inputs": _ENFORCED,
        "upstream_node_ids": _ENFORCED,
        "output_aliases": _ENFORCED,
        "task_node": _ENFORCED,
        "workflow_node": _ENFORCED,
        "branch_node": _refused("branches (conditional) are not built yet"),
        "gate_node": _refused("gates (approve, wait_for_input, sleep) are not built yet"),
        "array_node": _refused("array nodes (map_task) are not built yet"),
    },
    workflow_pb2.WorkflowNode.DESCRIPTOR.full_name: {
        "launchplan_ref": _refused("launch plans as nodes are not built yet: call the workflow itself"),
        "sub_workflow_ref": _ENFORCED,
    },
    workflow_pb2.NodeMetadata.DESCRIPTOR.full_name: {
        "name": _ENFORCED,
        "timeout": _ENFORCED,
        "retries": _ENFORCED,
        "interruptible": _ON_PREEMPTIBLE,
        "cacheable": _NO_CACHE,
        "cache_version": _ONLY_WITH_CACHE,
        "cache_serializable": _NO_CACHE,
        "config": _recorded("for plugins, of which there are none"),
    },
    workflow_pb2.TaskNode.DESCRIPTOR.full_name: {"reference_id": _ENFORCED, "overrides": _ENFORCED},
    workflow_pb2.TaskNodeOverrides.DESCRIPTOR.full_name: {
        "resources": _ENFORCED,
        "extended_resources": _ENFORCED,
        "container_image": _ENFORCED,
        "pod_template": _NO_POD,
    },
    tasks_pb2.ExtendedResources.DESCRIPTOR.full_name: {
        "gpu_accelerator": _refused("choosing a kind of accelerator is not built yet: ask for a number of GPUs"),
        "shared_memory": _refused("sizing shared memory is not built yet: task processes share the machine's"),
    },
    tasks_pb2.TaskTemplate.DESCRIPTOR.full_name: {
        "id": _ENFORCED,
        "type": _ENFORCED,
        "metadata": _ENFORCED,
        "interface": _ENFORCED,
        "custom": _recorded("the task's own process reads it"),
        "container": _ENFORCED,
        "k8s_pod": _NO_POD,
        "sql": _refused("queries that a plugin runs are not built yet: run the query in a task of your own"),
        "task_type_version": _recorded("there is one version of each task type"),
        "security_context": _ENFORCED,
        "extended_resources": _ENFORCED,
        "config": _recorded("for plugins, of which there are none"),
    },
    tasks_pb2.TaskMetadata.DESCRIPTOR.full_name: {
        "discoverable": _NO_CACHE,
        "runtime": _recorded("which SDK registered the task"),
        "timeout": _ENFORCED,
        "retries": _ENFORCED,
        "discovery_version": _ONLY_WITH_CACHE,
        "deprecated_error_message": _recorded("for people"),
        "interruptible": _ON_PREEMPTIBLE,
        "cache_serializable": _NO_CACHE,
        "tags": _recorded("for people"),
        "pod_template_name": _NO_POD,
        "cache_ignore_input_vars": _ONLY_WITH_CACHE,
        "is_eager": _recorded("eager tasks run like others, and launch executions of their own"),
        "generates_deck": _recorded("a deck is found wherever a task writes one"),
        "metadata": _recorded("labels and annotations of pods, of which there are none"),
    },
    tasks_pb2.Container.DESCRIPTOR.full_name: {
        "image": _ENFORCED,
        "command": _ENFORCED,
        "args": _ENFORCED,
        "resources": _ENFORCED,
        "env": _ENFORCED,
        "config": _recorded("for plugins, of which there are none"),
        "ports": _recorded("task processes may listen where they like"),
        "data_config": _refused("raw containers (ContainerTask) are not built yet: use a Python or shell task"),
        "architecture": _recorded("tasks run on the executor's architecture"),
    },
    tasks_pb2.Resources.DESCRIPTOR.full_name: {
        "requests": Rule(Fate.ENFORCED, "cpu, memory and gpu; what is asked of disks is recorded only"),
        "limits": Rule(Fate.ENFORCED, "as requests, where there are none"),
    },
    security_pb2.SecurityContext.DESCRIPTOR.full_name: {
        "run_as": _IDENTITY,
        "secrets": _refused("secrets are not built yet: the task would run without them"),
        "tokens": _refused("OAuth2 tokens for tasks are not built yet: the task would run without them"),
    },
    launch_plan_pb2.LaunchPlanSpec.DESCRIPTOR.full_name: {
        "workflow_id": _ENFORCED,
        "entity_metadata": _ENFORCED,
        "default_inputs": _ENFORCED,
        "fixed_inputs": _ENFORCED,
        "role": _IDENTITY,
        "labels": _recorded("executions inherit them"),
        "annotations": _recorded("executions inherit them"),
        "auth": _IDENTITY,
        "auth_role": _IDENTITY,
        "security_context": _ENFORCED,
        "quality_of_service": _NO_CLASSES,
        "raw_output_data_config": _ENFORCED,
        "max_parallelism": _ENFORCED,
        "interruptible": _ON_PREEMPTIBLE,
        "overwrite_cache": _ONLY_WITH_CACHE,
        "envs": _ENFORCED,
        "execution_env_assignments": _NO_ENVIRONMENTS,
        "cluster_assignment": _ONE_CLUSTER,
        "concurrency_policy": _refused("limits on the executions of a launch plan are not built yet"),
    },
    launch_plan_pb2.LaunchPlanMetadata.DESCRIPTOR.full_name: {
        "schedule": _recorded("refused when the launch plan is activated: schedules are not built yet"),
        "notifications": _NOBODY_NOTIFIED,
        "launch_conditions": _refused("launch conditions (triggers) are not built yet"),
    },
    interface_pb2.Parameter.DESCRIPTOR.full_name: {
        "var": _ENFORCED,
        "default": _ENFORCED,
        "required": _ENFORCED,
        "artifact_query": _refused("there is no artifact service: give a value as default"),
        "artifact_id": _refused("there is no artifact service: give a value as default"),
    },
    execution_pb2.ExecutionSpec.DESCRIPTOR.full_name: {
        "launch_plan": _ENFORCED,
        "inputs": _ENFORCED,
        "metadata": _recorded("who launched it and why"),
        "notifications": _NOBODY_NOTIFIED,
        "disable_all": _NOBODY_NOTIFIED,
        "labels": _recorded("executions are found by them"),
        "annotations": _recorded("for people"),
        "security_context": _ENFORCED,
        "auth_role": _IDENTITY,
        "quality_of_service": _NO_CLASSES,
        "max_parallelism": _ENFORCED,
        "raw_output_data_config": _ENFORCED,
        "cluster_assignment": _ONE_CLUSTER,
        "interruptible": _ON_PREEMPTIBLE,
        "overwrite_cache": _ONLY_WITH_CACHE,
        "envs": _ENFORCED,
        "tags": _recorded("executions are found by them"),
        "execution_cluster_label": _ONE_CLUSTER,
        "execution_env_assignments": _NO_ENVIRONMENTS,
    },
    interface_pb2.Variable.DESCRIPTOR.full_name: {
        "type": _ENFORCED,
        "description": _recorded("for people"),
        "artifact_partial_id": _NO_ARTIFACTS,
        "artifact_tag": _NO_ARTIFACTS,
    },
}
"""Full name of a message to its fields to their rules. What is not here is enforced or recorded as a whole."""

PLUGIN_TASK_TYPES: Final[Mapping[str, str]] = {
    "spark": "needs a Spark cluster",
    "ray": "needs a Ray cluster",
    "dask": "needs a Dask cluster",
    "mpi": "needs an MPI job",
    "pytorch": "needs a distributed PyTorch job",
    "tensorflow": "needs a distributed TensorFlow job",
    "sidecar": "needs a pod",
    "container_array": "is an array of tasks of the old kind",
    "raw-container": "is a container with a command of its own",
    "echo": "is answered by the engine itself",
}
"""Types of tasks that are more than one process running the SDK's command, and what they need instead."""

COMMANDS: Final = frozenset({"pyflyte-execute", "pyflyte-fast-execute"})
"""What an executor runs: the SDK's entry points for one task. The first is what the second starts in the end."""

MAP_COMMAND: Final = "pyflyte-map-execute"


def refuse_unbuilt(
    template: workflow_pb2.WorkflowTemplate, sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = ()
) -> None:
    """Raise Unimplemented for the first thing in a workflow or its sub-workflows that the engine cannot do."""
    _refuse(template, "workflow")
    for sub_workflow in sub_workflows:
        _refuse(sub_workflow, f"sub-workflow {entity_id(sub_workflow.id)}")


def refuse_unbuilt_task(template: tasks_pb2.TaskTemplate) -> None:
    """Raise Unimplemented if the engine cannot run a task, or would leave out something that it asks for."""
    _refuse(template, "task")
    if template.type in PLUGIN_TASK_TYPES:
        needs = PLUGIN_TASK_TYPES[template.type]
        raise Unimplemented(f"task.type: tasks of type {template.type!r} are not built yet: such a task {needs}")
    if template.WhichOneof("target") != "container":
        raise Unimplemented(f"task.container: a task of type {template.type!r} without container is not built yet")
    command = [*template.container.command, *template.container.args]
    # What fast registration starts is written behind it: `pyflyte-fast-execute --dest-dir … -- pyflyte-execute …`.
    if MAP_COMMAND in command:
        raise Unimplemented(f"task.container.args: {MAP_COMMAND} (map tasks) is not built yet")
    if not command or command[0] not in COMMANDS:
        raise Unimplemented(
            f"task.container.args: the command {' '.join(command[:1]) or '(none)'!r} is none of the SDK's"
            f" ({', '.join(sorted(COMMANDS))}): raw containers are not built yet"
        )


def refuse_unbuilt_execution(spec: execution_pb2.ExecutionSpec) -> None:
    """Raise Unimplemented for the first setting of an execution that would have no effect and should."""
    _refuse(spec, "spec")


def refuse_unbuilt_launch_plan(spec: launch_plan_pb2.LaunchPlanSpec) -> None:
    """Raise Unimplemented for the first part of a launch plan that the engine cannot do."""
    _refuse(spec, "spec")
    for name, parameter in spec.default_inputs.parameters.items():
        _refuse(parameter, f"spec.default_inputs.{name}")


def refuse_unbuilt_activation(spec: launch_plan_pb2.LaunchPlanSpec) -> None:
    """Raise Unimplemented if activating a launch plan should start executions on its own."""
    if spec.entity_metadata.schedule.WhichOneof("ScheduleExpression") is not None:
        raise Unimplemented(
            "spec.entity_metadata.schedule: schedules are not built yet: leave the launch plan inactive and launch it"
        )


def _refuse(message: Message, path: str) -> None:
    for place, rule in _set_fields(message, path):
        if rule.fate is Fate.REFUSED:
            raise Unimplemented(f"{place}: {rule.reason}")


def _set_fields(message: Message, path: str) -> Iterator[tuple[str, Rule]]:
    """Every field that says something, with its rule, outer ones first. Nodes are named by their id."""
    rules = FIELDS[message.DESCRIPTOR.full_name]
    for field, value in message.ListFields():
        place = f"{path}.{field.name}"
        inside = field.message_type
        if inside is None and not field.is_repeated and not value:
            continue  # an explicit False or 0, as SDKs write where nobody chose
        if inside is not None and not field.is_repeated and not value.ByteSize():
            continue  # an empty message, likewise
        yield place, rules[field.name]
        if inside is None or inside.full_name not in FIELDS:
            continue
        for item in value if field.is_repeated else (value,):
            named = f"{place}.{item.id}" if isinstance(item, workflow_pb2.Node) else place
            yield from _set_fields(item, named)
