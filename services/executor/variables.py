"""The environment of a task process: all of it, because nothing of the executor's own is inherited.

From weak to strong: what every task has here, the operator's additions, the task's own (template), the execution's,
then the secrets it asked for, and at last what identifies the attempt and its resources, which nobody else may say.
PATH is special: whatever it is set to, the task environment's commands come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flyteidl.core import identifier_pb2

from libs.wire.session import NO_INDEX, Assignment

_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Platform:
    """What is the same for every task of this executor."""

    admin_address: str = ""
    admin_insecure: bool = True
    console_url: str = ""
    offload_mb: tuple[int, int] | None = None
    """From which size on, and up to which, tasks put an output into a file of its own."""
    additions: Mapping[str, str] | None = None
    """The operator's variables."""
    has_gpus: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What is this attempt's own."""

    commands: Path | None
    home: Path | str
    temporary: Path | str
    devices: tuple[str, ...]
    traceparent: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets, and where they lie: the executor's word, whatever others say."""


def of_attempt(
    platform: Platform,
    place: Place,
    assignment: Assignment,
    task: identifier_pb2.Identifier,
    template_env: Mapping[str, str],
) -> dict[str, str]:
    """Everything that the task process finds in its environment."""
    environment = _basics(platform, place, assignment)
    environment.update(platform.additions or {})
    environment.update(template_env)
    environment.update(assignment.envs)
    environment.update(place.secrets)
    environment.update(_identity(assignment, task))
    environment.update(_item(assignment))
    environment["TMPDIR"] = str(place.temporary)
    environment["TRACEPARENT"] = place.traceparent or assignment.traceparent
    if platform.has_gpus:
        # Also for a task that asked for none: an empty list hides devices that belong to others.
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(place.devices)
    path = environment.get("PATH") or _SYSTEM_PATH
    environment["PATH"] = path if place.commands is None else f"{place.commands}:{path}"
    return {name: value for name, value in environment.items() if name and "=" not in name and "\0" not in name + value}


def of_zygote(
    platform: Platform, commands: Path, assignment: Assignment, template_env: Mapping[str, str]
) -> dict[str, str]:
    """What `of_attempt` gives to all attempts of a task in an execution alike: nothing that names one, no secret."""
    environment = _shared(platform)
    environment.update(platform.additions or {})
    environment.update(template_env)
    environment.update(assignment.envs)
    environment["PATH"] = f"{commands}:{environment.get('PATH') or _SYSTEM_PATH}"
    return {name: value for name, value in environment.items() if name and "=" not in name and "\0" not in name + value}


def of_container(
    platform: Platform, assignment: Assignment, task: identifier_pb2.Identifier, traceparent: str
) -> tuple[dict[str, str], dict[str, str]]:
    """What a container is told beside its own: what that may overrule, and what nobody may. Home, PATH and the like are
    its image's.
    """
    weak = {**_shared(platform), **_links(platform, assignment), **(platform.additions or {})}
    strong = {**_identity(assignment, task), **_item(assignment), "TRACEPARENT": traceparent or assignment.traceparent}
    return weak, {name: value for name, value in strong.items() if value or name != "TRACEPARENT"}


def _basics(platform: Platform, place: Place, assignment: Assignment) -> dict[str, str]:
    return {"HOME": str(place.home), **_shared(platform), **_links(platform, assignment)}


def _links(platform: Platform, assignment: Assignment) -> dict[str, str]:
    if not platform.console_url:
        return {}
    return {
        "FLYTE_EXECUTION_URL": (
            f"{platform.console_url.rstrip('/')}/projects/{assignment.project}/domains/{assignment.domain}"
            f"/executions/{assignment.name}/nodeId/{assignment.id.node}/nodes"
        )
    }


def _shared(platform: Platform) -> dict[str, str]:
    shared = {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # what a task prints is in its log when it prints it
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that numbers mean what nvidia-smi means by them
    }
    if platform.admin_address:
        shared["FLYTE_PLATFORM_URL"] = platform.admin_address
        shared["FLYTE_PLATFORM_INSECURE"] = "true" if platform.admin_insecure else "false"
    if platform.offload_mb is not None:
        shared["_F_L_MIN_SIZE_MB"], shared["_F_L_MAX_SIZE_MB"] = map(str, platform.offload_mb)
    return shared


def _identity(assignment: Assignment, task: identifier_pb2.Identifier) -> dict[str, str]:
    return {
        "FLYTE_INTERNAL_EXECUTION_ID": assignment.name,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": assignment.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": assignment.domain,
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": assignment.workflow,
        "FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN": assignment.launch_plan,
        "FLYTE_INTERNAL_TASK_PROJECT": task.project,
        "FLYTE_INTERNAL_TASK_DOMAIN": task.domain,
        "FLYTE_INTERNAL_TASK_NAME": task.name,
        "FLYTE_INTERNAL_TASK_VERSION": task.version,
        "FLYTE_ATTEMPT_NUMBER": str(assignment.id.attempt),
    }


def _item(assignment: Assignment) -> dict[str, str]:
    """Which item of its inputs this is, in the words of `pyflyte-map-execute`."""
    if assignment.array_index == NO_INDEX:
        return {}
    return {
        "BATCH_JOB_ARRAY_INDEX_VAR_NAME": "FLYTE_K8S_ARRAY_INDEX",
        "BATCH_JOB_ARRAY_INDEX_OFFSET": "0",  # is added, so that nobody else may say it
        "FLYTE_K8S_ARRAY_INDEX": str(assignment.array_index),
    }
