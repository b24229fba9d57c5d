"""From a task template to the words of its command line, before and after its variables are put in.

Where a container would have a file system of its own, tasks here share the machine's. So fast-registered code is
unpacked into the attempt's private working directory, whatever directory its registration names (`/root`, usually).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flyteidl.core import tasks_pb2
from google.protobuf import json_format

from libs.workflow import errors

FAST_EXECUTE: Final = "pyflyte-fast-execute"
_DEST_DIR: Final = "--dest-dir"
_PRIMARY_CONTAINER: Final = "primary_container_name"


@dataclass(frozen=True, slots=True)
class Command:
    """What the template wants to run, with its variables still in it."""

    words: tuple[str, ...]
    env: Mapping[str, str]


def of_template(template: tasks_pb2.TaskTemplate) -> Command:
    """The command of the task's container, or of the primary container of its pod.

    Raises InvalidArgument, naming the field, when it has neither or wants what only a container gives.
    """
    match template.WhichOneof("target"):
        case "container":
            container = template.container
            if container.HasField("data_config") and container.data_config.enabled:
                raise errors.InvalidArgument(
                    "container.data_config: a task that gets its data as files needs a real container"
                )
            words = (*container.command, *container.args)
            env = {pair.key: pair.value for pair in container.env}
        case "k8s_pod":
            words, env = _of_pod(template)
        case target:
            raise errors.InvalidArgument(f"a task of type {template.type!r} with target {target!r} has no command line")
    if not words:
        raise errors.InvalidArgument("container: neither command nor args are given")
    return Command(words, env)


def _of_pod(template: tasks_pb2.TaskTemplate) -> tuple[tuple[str, ...], dict[str, str]]:
    name = template.k8s_pod.primary_container_name or template.config.get(_PRIMARY_CONTAINER, "")
    containers = json_format.MessageToDict(template.k8s_pod.pod_spec).get("containers", [])
    for container in containers:
        if container.get("name") == name:
            words = (*container.get("command", ()), *container.get("args", ()))
            # Values from config maps, secrets and fields of the pod exist in a cluster only.
            env = {pair["name"]: pair["value"] for pair in container.get("env", ()) if "value" in pair}
            return tuple(map(str, words)), env
    raise errors.InvalidArgument(f"k8s_pod.pod_spec: there is no container named {name!r}")


def with_private_code(words: Sequence[str], directory: Path | str) -> tuple[str, ...]:
    """`words` with the value of fast-execute's own `--dest-dir` replaced; the wrapped command stays as it is."""
    if words[0].rpartition("/")[2] != FAST_EXECUTE:
        return tuple(words)
    rewritten = list(words)
    end = words.index("--") if "--" in words else len(words)
    for position in range(end):
        if words[position] == _DEST_DIR and position + 1 < end:
            rewritten[position + 1] = str(directory)
        elif words[position].startswith(f"{_DEST_DIR}="):
            rewritten[position] = f"{_DEST_DIR}={directory}"
    return tuple(rewritten)
