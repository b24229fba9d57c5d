"""What a pod has beside its task where that gets its data as files (`data_config`): the co-pilot's containers. Pure.

    upload     a native sidecar, the first of all containers, which counts as started when it hears of their end
    download   after it, before whatever else prepares the pod
    volumes    one for inputs and one for outputs, at the task's paths

The pod's grace is as long as the upload may take, for Kubernetes counts it from the end of the main containers on.
Who deletes the pod names a grace of its own. Other main containers have to end, too, before the upload begins. All of
this is as Flyte's plugins have it (`flytek8s/copilot.go` of flyteorg/flyte).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from flyteidl.core import tasks_pb2

from libs.wire.session import Assignment
from libs.workflow import errors

Spec = dict[str, Any]

INPUTS: Final = "/var/flyte/inputs"
OUTPUTS: Final = "/var/flyte/outputs"
"""Where files are if the task does not say; Flyte's defaults."""

UPLOAD: Final = "airscrew-upload"
DOWNLOAD: Final = "airscrew-download"
"""Names of the containers."""

_INPUTS_VOLUME: Final = "airscrew-inputs"
_OUTPUTS_VOLUME: Final = "airscrew-outputs"
_READY: Final = "/dev/shm/airscrew-upload"
"""Made by the uploader when it hears signals. Writable whatever the root file system is."""
_START_SECONDS: Final = 120
_REPORT_SECONDS: Final = 30
"""Of the pod's grace, beyond the time for the upload: the word of its failure has to be written, too."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """The co-pilot's containers, as the platform has them."""

    image: str
    """The executor's own. Empty: tasks with files are the operator's mistake."""
    timeout_seconds: int = 3600
    """For all inputs together, and for all outputs; Flyte's default."""
    cpu: str = "500m"
    memory: str = "256Mi"
    env: Mapping[str, str] | None = None
    env_from: Sequence[Mapping[str, Any]] = ()
    """Credentials of the blob store."""
    pull_policy: str = ""


def config_of(template: tasks_pb2.TaskTemplate) -> tasks_pb2.DataLoadingConfig | None:
    """How the task wants its files; None when it wants none."""
    target = template.k8s_pod if template.WhichOneof("target") == "k8s_pod" else template.container
    return target.data_config if target.data_config.enabled else None


def with_files(
    spec: Spec, primary: str, template: tasks_pb2.TaskTemplate, assignment: Assignment, inputs_uri: str, pilot: Pilot
) -> Spec:
    """`spec` with what brings the files of container `primary`; as it is where the task has none.

    Raises InvalidArgument, naming the field, for paths that cannot be; FailedPrecondition without an image.
    """
    config = config_of(template)
    if config is None:
        return spec
    takes = bool(template.interface.inputs.variables)
    gives = bool(template.interface.outputs.variables)
    inputs = _path(config.input_path or INPUTS, "input_path")
    outputs = _path(config.output_path or OUTPUTS, "output_path")
    if takes and gives and inputs == outputs:
        raise errors.InvalidArgument(f"data_config.output_path: {outputs} is where the inputs are, too")
    mounts: list[Spec] = []
    containers: list[Spec] = []
    strategy = config.io_strategy
    if gives:
        mounts.append({"name": _OUTPUTS_VOLUME, "mountPath": outputs})
        if strategy.upload_mode != tasks_pb2.IOStrategy.DO_NOT_UPLOAD:
            containers.append(_uploader(pilot, outputs, template, assignment))
    if takes:
        mounts.append({"name": _INPUTS_VOLUME, "mountPath": inputs})
        containers.append(_downloader(pilot, inputs, config, assignment, inputs_uri))
    if containers and not pilot.image:
        raise errors.FailedPrecondition("COPILOT_IMAGE: is not set, and a task wants its data as files (data_config)")
    changed = dict(spec)
    changed["initContainers"] = [*containers, *(spec.get("initContainers") or ())]
    changed["volumes"] = [*(spec.get("volumes") or ()), *({"name": each["name"], "emptyDir": {}} for each in mounts)]
    changed["containers"] = [
        each | {"volumeMounts": [*(each.get("volumeMounts") or ()), *mounts]} if each["name"] == primary else each
        for each in spec["containers"]
    ]
    if any(each["name"] == UPLOAD for each in containers):
        changed["terminationGracePeriodSeconds"] = pilot.timeout_seconds + _REPORT_SECONDS
    return {name: value for name, value in changed.items() if value != []}


def _uploader(pilot: Pilot, outputs: str, template: tasks_pb2.TaskTemplate, assignment: Assignment) -> Spec:
    interface = template.interface.SerializeToString(deterministic=True)
    words = ("--raw-prefix", assignment.raw_output_prefix, "--interface", base64.b64encode(interface).decode())
    container = _container(UPLOAD, "upload", pilot, outputs, assignment, (*words, "--ready", _READY))
    container["volumeMounts"] = [{"name": _OUTPUTS_VOLUME, "mountPath": outputs}]
    container["restartPolicy"] = "Always"
    container["startupProbe"] = {
        "exec": {"command": ["test", "-e", _READY]},
        "periodSeconds": 1,
        "failureThreshold": _START_SECONDS,
    }
    return container


def _downloader(
    pilot: Pilot, inputs: str, config: tasks_pb2.DataLoadingConfig, assignment: Assignment, inputs_uri: str
) -> Spec:
    form = tasks_pb2.DataLoadingConfig.LiteralMapFormat.Name(config.format)
    words = ["--inputs", inputs_uri, "--format", form]
    if config.io_strategy.download_mode == tasks_pb2.IOStrategy.DO_NOT_DOWNLOAD:
        words.append("--no-data")
    container = _container(DOWNLOAD, "download", pilot, inputs, assignment, words)
    container["volumeMounts"] = [{"name": _INPUTS_VOLUME, "mountPath": inputs}]
    return container


def _container(
    name: str, command: str, pilot: Pilot, directory: str, assignment: Assignment, words: Sequence[str]
) -> Spec:
    resources = {"cpu": pilot.cpu, "memory": pilot.memory}
    container: Spec = {
        "name": name,
        "image": pilot.image,
        "command": ["python", "-m", "services.executor.copilot", command],
        "args": [
            *("--output-prefix", assignment.output_prefix),
            *("--directory", directory),
            *("--timeout", str(pilot.timeout_seconds)),
            *words,
        ],
        "env": [{"name": name, "value": value} for name, value in sorted((pilot.env or {}).items())],
        "envFrom": [dict(each) for each in pilot.env_from],
        "imagePullPolicy": pilot.pull_policy,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return {key: value for key, value in container.items() if value not in ("", [])}


def _path(path: str, field: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or path.rstrip("/") == "":
        raise errors.InvalidArgument(f"data_config.{field}: {path!r} is no absolute path of a directory")
    return str(PurePosixPath(path))
