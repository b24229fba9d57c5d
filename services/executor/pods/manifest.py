"""From a task and its assignment to the pod that runs the attempt. Pure.

    podspec      what the task says, between the PodTemplate below it and its node's override above it
    command      variables of Flyte's command lines become places in the blob store: pods share no disk with us
    machine      cores, memory, GPUs, shared memory, nodes
    podsecrets   secrets
    record       labels and annotations: whose pod it is
    datafiles    inputs and outputs of a task that wants them as files

What the platform says (`Shape`) fills in what none of these says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flyteidl.core import tasks_pb2, workflow_pb2
from flyteidl.core.security_pb2 import SecurityContext
from google.protobuf.message import DecodeError

from libs.wire.session import Assignment
from libs.workflow import errors
from services.executor import tasksecrets, variables
from services.executor.pods import datafiles, machine, podsecrets, podspec, record
from services.executor.pods.podspec import Spec, merge

_NOT_EVICTED: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is the same for every pod of this executor."""

    executor: str
    """Its id, for the label that it watches."""
    platform: variables.Platform
    owner: Mapping[str, Any] | None = None
    """An owner reference: whoever is deleted takes the pods along."""
    defaults: Mapping[str, str] = field(default_factory=lambda: {"cpu": "1", "memory": "1Gi"})
    """Resources of a task that does not ask for any."""
    gpu_resource: str = "nvidia.com/gpu"
    gpu_device_label: str = "k8s.amazonaws.com/accelerator"
    gpu_partition_label: str = "k8s.amazonaws.com/gpu-partition-size"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    interruptible_node_selector: Mapping[str, str] = field(default_factory=dict)
    interruptible_tolerations: Sequence[Mapping[str, str]] = ()
    service_account: str = ""
    image_pull_policy: str = ""
    image_pull_secrets: Sequence[str] = ()
    env_from: Sequence[Mapping[str, Any]] = ()
    grace_seconds: int = 30
    pilot: datafiles.Pilot = datafiles.Pilot("")
    """What brings files."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A pod before its command lines are rendered."""

    spec: Spec
    primary: str
    overrides: workflow_pb2.TaskNodeOverrides
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def words(self) -> Sequence[str]:
        """What there is to render."""
        return podspec.words(self.spec)


def draft(assignment: Assignment, template: tasks_pb2.TaskTemplate, base: Mapping[str, Any] | None = None) -> Draft:
    """What task and node want, upon `base`, a PodTemplate's template. Raises InvalidArgument naming the field."""
    overrides = _parsed(workflow_pb2.TaskNodeOverrides, assignment.overrides)
    spec, primary = podspec.own(template)
    metas = [template.k8s_pod.metadata, template.metadata.metadata]
    if base is not None:
        spec = podspec.on_template(base.get("spec") or {}, spec, primary)
    if overrides.HasField("pod_template"):
        spec = podspec.with_override(spec, primary, overrides.pod_template)
        metas.append(overrides.pod_template.metadata)
    image = assignment.container_image if template.HasField("container") else overrides.container_image
    if image:
        spec = merge(spec, {"containers": [{"name": primary, "image": image}]})
    above = (base or {}).get("metadata") or {}
    labels, annotations = dict(above.get("labels") or {}), dict(above.get("annotations") or {})
    for meta in metas:
        labels.update(meta.labels)
        annotations.update(meta.annotations)
    return Draft(spec, primary, overrides, labels, annotations)


def build(
    sketch: Draft,
    assignment: Assignment,
    template: tasks_pb2.TaskTemplate,
    shape: Shape,
    render: Callable[[Sequence[str]], Sequence[str]],
    traceparent: str,
    inputs_uri: str,
) -> dict[str, Any]:
    """The pod. `render` puts the variables into a command line; `traceparent` is the parent of the task's own spans,
    `inputs_uri` where its inputs.pb lies.

    Raises InvalidArgument, naming the field, for what cannot be a pod.
    """
    secrets = podsecrets.deliver(tasksecrets.wanted(template.security_context, assignment.security_context))
    weak, strong = variables.of_container(shape.platform, assignment, template.id, traceparent)
    spec = merge(_defaults(shape, assignment), sketch.spec)
    for each in podspec.containers(spec):
        _complete(each, shape, weak, assignment.envs, secrets, strong, render)
    _furnish(spec, sketch, template, shape)
    if secrets.volumes:
        spec["volumes"] = [*(spec.get("volumes") or ()), *secrets.volumes]
    if account := _account(template, assignment) or ("" if "serviceAccountName" in spec else shape.service_account):
        spec["serviceAccountName"] = account
    spec.setdefault("automountServiceAccountToken", "serviceAccountName" in spec)
    spec = _on_their_nodes(spec, sketch, template, shape)
    spec = datafiles.with_files(spec, sketch.primary, template, assignment, inputs_uri, shape.pilot)
    metadata: dict[str, Any] = {
        "name": record.pod_name(assignment),
        "labels": {**sketch.labels, **record.labels(assignment, template.id, shape.executor)},
        "annotations": {
            _NOT_EVICTED: "false",
            _DEFAULT_CONTAINER: sketch.primary,
            **sketch.annotations,
            **record.notes(assignment, template, sketch.primary),
        },
    }
    if shape.owner is not None:
        metadata["ownerReferences"] = [dict(shape.owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "restartPolicy": "Never"}}


def _defaults(shape: Shape, assignment: Assignment) -> Spec:
    """What a pod has of which nobody has said anything."""
    spec: Spec = {
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": shape.grace_seconds,
        "tolerations": [dict(each) for each in shape.tolerations],
        "nodeSelector": dict(shape.node_selector),
        "imagePullSecrets": [{"name": name} for name in shape.image_pull_secrets],
    }
    if assignment.interruptible:
        spec["tolerations"] += [dict(each) for each in shape.interruptible_tolerations]
        spec["nodeSelector"] |= shape.interruptible_node_selector
    return {name: value for name, value in spec.items() if value not in ([], {})}


def _complete(
    container: dict[str, Any],
    shape: Shape,
    weak: Mapping[str, str],
    of_execution: Mapping[str, str],
    secrets: podsecrets.Delivery,
    strong: Mapping[str, str],
    render: Callable[[Sequence[str]], Sequence[str]],
) -> None:
    """Gives a container its command line, its variables and its secrets."""
    for kind in ("command", "args"):
        if container.get(kind):
            container[kind] = list(render([str(word) for word in container[kind]]))
    env: dict[str, Any] = {}
    for layer in (_pairs(weak), container.get("env") or (), _pairs(of_execution), secrets.env, _pairs(strong)):
        env.update({pair["name"]: pair for pair in layer})
    container["env"] = list(env.values())
    if shape.env_from:
        container["envFrom"] = [*(dict(each) for each in shape.env_from), *(container.get("envFrom") or ())]
    if secrets.mounts:
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), *secrets.mounts]
    if shape.image_pull_policy:
        container.setdefault("imagePullPolicy", shape.image_pull_policy)
    # The end of the log then is in the pod's state, for the message of a failure.
    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")


def _furnish(spec: Spec, sketch: Draft, template: tasks_pb2.TaskTemplate, shape: Shape) -> None:
    """Gives the task's container its resources."""
    asked = [template.container.resources] if template.HasField("container") else []
    asked.append(sketch.overrides.resources)
    container = next(each for each in spec["containers"] if each["name"] == sketch.primary)
    own = container.get("resources") or {}
    container["resources"] = own | machine.resources(own, asked, shape.gpu_resource, shape.defaults)


def _on_their_nodes(spec: Spec, sketch: Draft, template: tasks_pb2.TaskTemplate, shape: Shape) -> Spec:
    """`spec` with what the task and its node want beside cores and memory."""
    wanted = tasks_pb2.ExtendedResources()
    wanted.CopyFrom(template.extended_resources)
    for name in ("gpu_accelerator", "shared_memory"):
        if sketch.overrides.extended_resources.HasField(name):
            getattr(wanted, name).CopyFrom(getattr(sketch.overrides.extended_resources, name))
    if wanted.HasField("gpu_accelerator"):
        labels = (shape.gpu_device_label, shape.gpu_partition_label)
        spec = machine.with_accelerator(spec, wanted.gpu_accelerator, *labels)
    if wanted.HasField("shared_memory"):
        spec = machine.with_shared_memory(spec, sketch.primary, wanted.shared_memory)
    return spec


def _account(template: tasks_pb2.TaskTemplate, assignment: Assignment) -> str:
    """The service account that execution or task ask for; the execution wins, as in Flyte."""
    of_execution = _parsed(SecurityContext, assignment.security_context)
    accounts = (of_execution.run_as.k8s_service_account, template.security_context.run_as.k8s_service_account)
    return next((str(account) for account in accounts if account), "")


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise errors.Internal(f"{kind.DESCRIPTOR.name} of an assignment cannot be read: {error}") from error


def _pairs(variables_: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables_.items()]
