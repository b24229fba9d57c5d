"""Which machine a pod needs: cores, memory, GPUs and their kind, shared memory, and where it may go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flyteidl.core import tasks_pb2

from libs.workflow import quantities
from services.executor.pods.podspec import Spec, merge
from services.executor.settings import TOLERATION

_SHARED_MEMORY: Final = "flyte-shared-memory"


def resources(
    own: Mapping[str, Any], asked: Iterable[tasks_pb2.Resources], gpu: str, defaults: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Requests and limits of a container: what its pod says (`own`), under what task and node say (`asked`, the last
    one wins), with `defaults` for what nobody says. What has only one of the two gets the other one alike.

    Raises InvalidArgument for what is no quantity.
    """
    requests = {name: str(value) for name, value in (own.get("requests") or {}).items()}
    limits = {name: str(value) for name, value in (own.get("limits") or {}).items()}
    for each in asked:
        said = {name for name, _ in (*_named(each.requests, gpu), *_named(each.limits, gpu))}
        requests = {name: value for name, value in requests.items() if name not in said} | dict(
            _named(each.requests, gpu)
        )
        limits = {name: value for name, value in limits.items() if name not in said} | dict(_named(each.limits, gpu))
    for name in {*requests, *limits, *defaults}:
        request = requests.get(name) or limits.get(name) or defaults[name]
        limits[name] = limit = limits.get(name) or request
        field = f"container.resources.{name}"
        exceeds = quantities.parse_quantity(request, field) > quantities.parse_quantity(limit, field)
        requests[name] = limit if exceeds else request
    none = {name for name, value in limits.items() if name == gpu and not quantities.parse_quantity(value, name)}
    return {
        "requests": {name: value for name, value in sorted(requests.items()) if name not in none},
        "limits": {name: value for name, value in sorted(limits.items()) if name not in none},
    }


def _named(entries: Iterable[tasks_pb2.Resources.ResourceEntry], gpu: str) -> list[tuple[str, str]]:
    names = {
        tasks_pb2.Resources.CPU: "cpu",
        tasks_pb2.Resources.MEMORY: "memory",
        tasks_pb2.Resources.GPU: gpu,
        tasks_pb2.Resources.STORAGE: "ephemeral-storage",
        tasks_pb2.Resources.EPHEMERAL_STORAGE: "ephemeral-storage",
    }
    return [(names[entry.name], entry.value.strip()) for entry in entries if entry.name in names and entry.value]


def with_accelerator(
    spec: Spec, accelerator: tasks_pb2.GPUAccelerator, device_label: str, partition_label: str
) -> Spec:
    """`spec` on nodes with this kind of GPU: they are labelled so, and tainted against everybody else."""
    needs: list[dict[str, Any]] = []
    tolerations: list[dict[str, str]] = []

    def bind(label: str, value: str) -> None:
        needs.append({"key": label, "operator": "In", "values": [value]})
        tolerations.append({"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"})

    if accelerator.device:
        bind(device_label, accelerator.device)
    if accelerator.partition_size:
        bind(partition_label, accelerator.partition_size)
    elif accelerator.unpartitioned:
        needs.append({"key": partition_label, "operator": "DoesNotExist"})
    if not needs:
        return spec
    return merge(on_nodes(spec, needs), {"tolerations": tolerations})


def on_nodes(spec: Spec, needs: list[dict[str, Any]]) -> Spec:
    """`spec` on nodes of which all of `needs` are true as well."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or [{}]  # any of them must be true, so all get the needs
    bound = [{**term, "matchExpressions": [*(term.get("matchExpressions") or ()), *needs]} for term in terms]
    node = {**affinity, "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": bound}}
    return {**spec, "affinity": {**(spec.get("affinity") or {}), "nodeAffinity": node}}


def with_shared_memory(spec: Spec, primary: str, shared: tasks_pb2.SharedMemory) -> Spec:
    """`spec` with a volume in memory for the task's container; Flyte's names where the task says none."""
    name = shared.mount_name or _SHARED_MEMORY
    memory: dict[str, Any] = {"medium": "Memory"}
    if shared.size_limit:
        quantities.parse_quantity(shared.size_limit, "extended_resources.shared_memory.size_limit")
        memory["sizeLimit"] = shared.size_limit
    mount = {"name": name, "mountPath": shared.mount_path or "/dev/shm"}
    over = {"volumes": [{"name": name, "emptyDir": memory}], "containers": [{"name": primary, "volumeMounts": [mount]}]}
    return merge(spec, over)


def tolerations(words: Iterable[str]) -> list[dict[str, str]]:
    """Those that settings name, which have been checked: `key=value:NoSchedule`, `key:NoExecute`, `key`."""
    found: list[dict[str, str]] = []
    for word in words:
        match = re.fullmatch(TOLERATION, word)
        parts = {name: value for name, value in match.groupdict().items() if value} if match else {}
        found.append({"operator": "Equal" if "value" in parts else "Exists", **parts})
    return found
