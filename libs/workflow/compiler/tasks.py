"""Tasks: a compiled task is its template, once that is known to be complete."""

from __future__ import annotations

import re

from flyteidl.core import compiler_pb2, tasks_pb2
from google.protobuf import struct_pb2

from libs.workflow.compiler.errors import Code, CompileError, CompileErrors, Report
from libs.workflow.errors import InvalidArgument
from libs.workflow.quantities import parse_quantity

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def compile_task(template: tasks_pb2.TaskTemplate) -> compiler_pb2.CompiledTask:
    """Check a task and wrap it. Raises CompileErrors with everything that is wrong with it."""
    if errors := task_errors(template):
        raise CompileErrors(f"task {template.id.name}", errors)
    return compiler_pb2.CompiledTask(template=template)


def task_errors(template: tasks_pb2.TaskTemplate) -> tuple[CompileError, ...]:
    """Everything that is wrong with a task."""
    report = Report()
    if not template.HasField("id"):
        report.add(Code.VALUE_REQUIRED, "", "id is missing: name the task by project, domain, name and version")
    match template.WhichOneof("target"):
        case "container":
            _check_container(template, report)
        case "k8s_pod":
            _check_pod(template.k8s_pod, report)
    return report.errors


def _check_container(template: tasks_pb2.TaskTemplate, report: Report) -> None:
    container = template.container
    has_interface = bool(template.interface.inputs.variables or template.interface.outputs.variables)
    if has_interface and not container.command and not container.args:
        report.add(
            Code.VALUE_REQUIRED,
            "",
            "container.command and container.args are empty, but the task has inputs or outputs: say what to run",
        )
    if not container.image:
        report.add(Code.VALUE_REQUIRED, "", "container.image is empty: name the image that the task runs in")
    check_resources(container.resources, "container.resources", "", report)


def check_resources(resources: tasks_pb2.Resources, field: str, node_id: str, report: Report) -> None:
    """Report quantities that cannot be read."""
    for part in ("requests", "limits"):
        for entry in getattr(resources, part):
            names = tasks_pb2.Resources.ResourceName
            if entry.name not in names.values():
                report.add(
                    Code.UNRECOGNIZED_VALUE, node_id, f"{field}.{part}: resource {entry.name} is unknown: drop it"
                )
                continue
            try:
                parse_quantity(entry.value, f"{field}.{part}.{names.Name(entry.name)}")
            except InvalidArgument as error:
                report.add(Code.UNRECOGNIZED_VALUE, node_id, error.message)


def _check_pod(pod: tasks_pb2.K8sPod, report: Report) -> None:
    if not pod.HasField("pod_spec"):
        report.add(Code.VALUE_REQUIRED, "", "k8s_pod.pod_spec is missing: give the pod's specification")
        return
    containers = pod.pod_spec.fields.get("containers", struct_pb2.Value(list_value=struct_pb2.ListValue()))
    if containers.WhichOneof("kind") != "list_value":
        report.add(Code.INVALID_VALUE, "", "k8s_pod.pod_spec.containers must be a list of containers")
        return
    for index, container in enumerate(containers.list_value.values):
        name = container.struct_value.fields["name"].string_value if container.struct_value.fields else ""
        if not _DNS_LABEL.fullmatch(name):
            report.add(
                Code.INVALID_VALUE,
                "",
                f"k8s_pod.pod_spec.containers[{index}].name {name!r} is not a DNS label: use lower-case letters, digits"
                " and inner hyphens, at most 63",
            )
