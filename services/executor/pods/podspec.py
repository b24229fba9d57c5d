"""The specification of a pod, layer upon layer: what everybody's is, what the task says, what its node says. Pure.

A layer wins over those below it, as in Kubernetes' strategic merge: objects are merged, lists of things that have a
name are merged by it, other lists follow one another (`tolerations`) or are replaced (`args`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flyteidl.core import tasks_pb2
from google.protobuf import json_format

from libs.workflow import errors

Spec = dict[str, Any]

PRIMARY: Final = "primary"
"""The container of a task that is nothing but a container, and in a PodTemplate the pattern for the task's."""
PRIMARY_CONTAINER: Final = "primary_container_name"
"""Key of a task's config that names the container that is the task."""
_DEFAULT: Final = "default"
"""In a PodTemplate: what every container has."""

_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""Lists whose elements are the same thing when this is the same."""
_DEFAULTS: Final[Mapping[str, Any]] = {"terminationGracePeriodSeconds": 30}
"""What the API server writes into a specification that says nothing, and we say more of (k8s.io/api/core/v1)."""
_ADDED: Final = frozenset({"tolerations", "envFrom", "nodeSelectorTerms", "schedulingGates", "readinessGates"})
"""Lists that grow."""


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Spec:
    """Both, where `above` wins; neither is changed."""
    merged = dict(below)
    for name, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = merge(merged[name], value)
        elif isinstance(value, list) and isinstance(merged.get(name), list):
            merged[name] = _lists(name, merged[name], value)
        else:
            merged[name] = value
    return merged


def _lists(name: str, below: list[Any], above: list[Any]) -> list[Any]:
    if name in _ADDED:
        return [*below, *(each for each in above if each not in below)]
    key = _KEYS.get(name)
    if key is None or not all(isinstance(each, Mapping) and key in each for each in (*below, *above)):
        return above
    merged = {each[key]: each for each in below}
    for each in above:
        merged[each[key]] = merge(merged[each[key]], each) if each[key] in merged else each
    return list(merged.values())


def own(template: tasks_pb2.TaskTemplate) -> tuple[Spec, str]:
    """What the task itself says, and the name of the container that is the task.

    Raises InvalidArgument, naming the field, when there is no such container.
    """
    match template.WhichOneof("target"):
        case "container":
            return {"containers": [_container(template.container)]}, PRIMARY
        case "k8s_pod":
            pod, name = template.k8s_pod, template.k8s_pod.primary_container_name
            spec, name = as_json(pod.pod_spec), name or template.config.get(PRIMARY_CONTAINER, "")
            _require(spec, name)
            return spec, name
        case target:
            raise errors.InvalidArgument(f"a task of type {template.type!r} with target {target!r} is no pod")


def _container(container: tasks_pb2.Container) -> Spec:
    spec: Spec = {"name": PRIMARY, "image": container.image}
    if container.command:
        spec["command"] = list(container.command)
    if container.args:
        spec["args"] = list(container.args)
    if container.env:
        spec["env"] = [{"name": pair.key, "value": pair.value} for pair in container.env]
    if container.ports:
        ports = [{"containerPort": port.container_port, "name": port.name} for port in container.ports]
        spec["ports"] = [{name: value for name, value in port.items() if value} for port in ports]
    return spec


def _require(spec: Spec, name: str) -> None:
    containers = spec.get("containers")
    names = [each.get("name") for each in containers] if isinstance(containers, list) else []
    if name not in names:
        raise errors.InvalidArgument(f"k8s_pod.pod_spec: there is no container named {name!r}")


def on_template(base: Mapping[str, Any], spec: Spec, primary: str) -> Spec:
    """`spec` laid over that of a PodTemplate, whose containers `default` and `primary` (of those that prepare the pod
    `default-init` and `primary-init`) are patterns, as in Flyte. Containers of other names it brings along.
    """
    base = as_written(base)
    below = dict(base)
    for kind, suffix in (("containers", ""), ("initContainers", "-init")):
        patterns = {each["name"]: each for each in base.get(kind) or ()}
        default, first = patterns.pop(_DEFAULT + suffix, {}), patterns.pop(PRIMARY + suffix, {})
        described = [
            {**merge(default, first if each["name"] == primary else {}), "name": each["name"]}
            for each in spec.get(kind) or ()
        ]
        below[kind] = [*described, *(each for name, each in patterns.items() if name != primary)]
        if not below[kind]:
            del below[kind]
    return merge(below, spec)


def as_written(spec: Mapping[str, Any]) -> Spec:
    """A PodTemplate's without what the API server has put into it, as it does whenever somebody says nothing: a pull
    policy that goes by the tag of the pattern's image, not of the task's, and values that a pod of ours has others for.
    """
    kept = {name: value for name, value in spec.items() if _DEFAULTS.get(name) != value}
    for kind in ("containers", "initContainers"):
        if kind in spec:
            kept[kind] = [
                {name: value for name, value in each.items() if _defaults_of(each).get(name) != value}
                for each in spec[kind]
            ]
    return kept


def _defaults_of(container: Mapping[str, Any]) -> Mapping[str, Any]:
    name, _, digest = str(container.get("image", "")).partition("@")
    newest = not digest and name.rpartition("/")[2].partition(":")[2] in ("", "latest")
    policy = {"imagePullPolicy": "Always" if newest else "IfNotPresent"} if name else {}
    return {**policy, "terminationMessagePolicy": "File"}


def with_override(spec: Spec, primary: str, pod: tasks_pb2.K8sPod) -> Spec:
    """`spec` under what the node says of its pod: the container that this calls its primary is the task's."""
    over = as_json(pod.pod_spec)
    theirs = pod.primary_container_name or PRIMARY
    for each in over.get("containers") or ():
        if each.get("name") == theirs:
            each["name"] = primary
    return merge(spec, over)


def containers(spec: Spec) -> Iterator[dict[str, Any]]:
    """All of them, those that prepare the pod first."""
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def words(spec: Spec) -> Sequence[str]:
    """Every word of every command line."""
    return [str(word) for each in containers(spec) for kind in ("command", "args") for word in each.get(kind) or ()]


def as_json(struct: Any) -> Spec:
    """A `Struct` as JSON: it has no whole numbers, Kubernetes has hardly any others."""
    converted: Spec = _whole(json_format.MessageToDict(struct))
    return converted


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(each) for name, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value
