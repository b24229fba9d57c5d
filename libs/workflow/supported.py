"""What the engine cannot run, where more than one field tells: kinds of tasks, their commands, schedules.

What a single field tells is in the tables of `libs.workflow.fields`. Both depend on the backend: where tasks are pods,
any command in any image runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import tasks_pb2, workflow_pb2

from libs.workflow.backend import NEEDS_PODS, Backend
from libs.workflow.errors import Unimplemented

PLUGIN_TASK_TYPES: Final[Mapping[str, str]] = {
    "spark": "needs a Spark cluster",
    "ray": "needs a Ray cluster",
    "dask": "needs a Dask cluster",
    "mpi": "needs an MPI job",
    "pytorch": "needs a distributed PyTorch job",
    "tensorflow": "needs a distributed TensorFlow job",
    "container_array": "is an array of tasks of the old kind",
}
"""Types of tasks that are more than one process or pod, and what they need instead."""

POD_TASK_TYPES: Final[Mapping[str, str]] = {
    "sidecar": "a pod of several containers",
    "raw-container": "a container with a command of its own",
}
"""Types of tasks that only pods can run, and what each is."""

ECHO: Final = "echo"
"""The type of tasks whose outputs are their inputs: executors answer them without running anything."""

COMMANDS: Final = frozenset({"pyflyte-execute", "pyflyte-fast-execute", "pyflyte-map-execute"})
"""What runs as a process: the SDK's entry points for a task and for one item of a map task, and what fetches the code
for either and then starts it.
"""


def refuse_unbuilt_task(template: tasks_pb2.TaskTemplate, backend: Backend) -> None:
    """Raise Unimplemented if the engine cannot run tasks of this type, or not with this command."""
    if template.type in PLUGIN_TASK_TYPES:
        needs = PLUGIN_TASK_TYPES[template.type]
        raise Unimplemented(f"task.type: tasks of type {template.type!r} are not built yet: such a task {needs}")
    if template.type == ECHO:
        return
    target = template.WhichOneof("target")
    if target not in ("container", "k8s_pod"):
        raise Unimplemented(f"task.container: a task of type {template.type!r} without container is not built yet")
    if backend is Backend.POD:
        return
    if wish := wish_for_a_pod(template):
        raise Unimplemented(f"task.{wish}: such a task {NEEDS_PODS}")
    command = [*template.container.command, *template.container.args]
    if not command or command[0] not in COMMANDS:
        raise Unimplemented(
            f"task.container.args: the command {' '.join(command[:1]) or '(none)'!r} is none of the SDK's"
            f" ({', '.join(sorted(COMMANDS))}): a container with another one {NEEDS_PODS}"
        )


def wish_for_a_pod(template: tasks_pb2.TaskTemplate) -> str:
    """Which field of a task asks for what only a pod gives, with what is asked; empty where none does."""
    if template.type in POD_TASK_TYPES:
        return f"type: {template.type!r} is {POD_TASK_TYPES[template.type]}"
    if template.WhichOneof("target") == "k8s_pod":
        return "k8s_pod"
    if template.container.data_config.enabled:
        return "container.data_config"
    if template.metadata.pod_template_name:
        return "metadata.pod_template_name"
    return _of_resources(template.extended_resources)


def wish_of_a_node_for_a_pod(overrides: workflow_pb2.TaskNodeOverrides) -> str:
    """As `wish_for_a_pod`, of what a node says otherwise than its task."""
    if overrides.HasField("pod_template"):
        return "pod_template"
    return _of_resources(overrides.extended_resources)


def _of_resources(extended: tasks_pb2.ExtendedResources) -> str:
    for name in ("gpu_accelerator", "shared_memory"):
        if extended.HasField(name):
            return f"extended_resources.{name}"
    return ""


def refuse_unbuilt_activation(spec: launch_plan_pb2.LaunchPlanSpec) -> None:
    """Raise Unimplemented if activating a launch plan should start executions on its own."""
    if spec.entity_metadata.schedule.WhichOneof("ScheduleExpression") is not None:
        raise Unimplemented(
            "spec.entity_metadata.schedule: schedules are not built yet: leave the launch plan inactive and launch it"
        )
