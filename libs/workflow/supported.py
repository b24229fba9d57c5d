"""What the engine cannot run yet, where more than one field tells: kinds of tasks, their commands, schedules.

What a single field tells is in the tables of `libs.workflow.fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import tasks_pb2

from libs.workflow.errors import Unimplemented

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
}
"""Types of tasks that are more than one process running the SDK's command, and what they need instead."""

ECHO: Final = "echo"
"""The type of tasks whose outputs are their inputs: executors answer them without running anything."""

COMMANDS: Final = frozenset({"pyflyte-execute", "pyflyte-fast-execute", "pyflyte-map-execute"})
"""What an executor runs: the SDK's entry points for a task and for one item of a map task, and what fetches the code
for either and then starts it.
"""


def refuse_unbuilt_task(template: tasks_pb2.TaskTemplate) -> None:
    """Raise Unimplemented if the engine cannot run tasks of this type, or not with this command."""
    if template.type in PLUGIN_TASK_TYPES:
        needs = PLUGIN_TASK_TYPES[template.type]
        raise Unimplemented(f"task.type: tasks of type {template.type!r} are not built yet: such a task {needs}")
    if template.type == ECHO:
        return
    if template.WhichOneof("target") != "container":
        raise Unimplemented(f"task.container: a task of type {template.type!r} without container is not built yet")
    command = [*template.container.command, *template.container.args]
    if not command or command[0] not in COMMANDS:
        raise Unimplemented(
            f"task.container.args: the command {' '.join(command[:1]) or '(none)'!r} is none of the SDK's"
            f" ({', '.join(sorted(COMMANDS))}): raw containers are not built yet"
        )


def refuse_unbuilt_activation(spec: launch_plan_pb2.LaunchPlanSpec) -> None:
    """Raise Unimplemented if activating a launch plan should start executions on its own."""
    if spec.entity_metadata.schedule.WhichOneof("ScheduleExpression") is not None:
        raise Unimplemented(
            "spec.entity_metadata.schedule: schedules are not built yet: leave the launch plan inactive and launch it"
        )
