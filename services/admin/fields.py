"""What becomes of each field of a request: enforced, recorded only, or refused. None is silently ignored.

*Enforced*: the field has the effect that Flyte's documentation gives it. *Recorded*: it is stored and echoed, and has
no effect here; users see these in the documentation. *Refused*: a request that sets it is answered with the reason,
because going on without it would do something else than was asked.

The table is complete, and a test holds it against the messages: a field that a newer `flyteidl` adds fails it until
somebody has decided. Here are the requests themselves; the templates and specifications inside them, which the rest of
the engine reads too, have such a table in `libs/workflow/supported`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flyteidl.admin import (
    execution_pb2,
    launch_plan_pb2,
    project_pb2,
    task_pb2,
    workflow_pb2,
)
from flyteidl.service import dataproxy_pb2
from google.protobuf.message import Message

from libs.workflow.errors import AirscrewError, InvalidArgument, Unimplemented


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to a field that is set."""

    name: str
    refusal: type[AirscrewError] | None = None
    reason: str = ""


ENFORCED = Treatment("enforced")
RECORDED = Treatment("recorded")


def _refused(reason: str) -> Treatment:
    """The request is wrong: no installation of ours will ever take it."""
    return Treatment("refused", InvalidArgument, reason)


def _unbuilt(reason: str) -> Treatment:
    """The request is right, and we have not got that far."""
    return Treatment("refused", Unimplemented, reason)


_NO_ORG = _refused("this installation has no organisations, leave it empty")
TREATMENTS: Mapping[str, Mapping[str, Treatment]] = {
    execution_pb2.ExecutionCreateRequest.DESCRIPTOR.full_name: {
        "project": ENFORCED,
        "domain": ENFORCED,
        "name": ENFORCED,
        "spec": ENFORCED,
        "inputs": ENFORCED,
        "org": _NO_ORG,
    },
    execution_pb2.ExecutionRelaunchRequest.DESCRIPTOR.full_name: {
        "id": ENFORCED,
        "name": ENFORCED,
        "overwrite_cache": ENFORCED,
    },
    launch_plan_pb2.LaunchPlanCreateRequest.DESCRIPTOR.full_name: {
        "id": ENFORCED,
        "spec": ENFORCED,
    },
    launch_plan_pb2.ActiveLaunchPlanListRequest.DESCRIPTOR.full_name: {
        "project": ENFORCED,
        "domain": ENFORCED,
        "limit": ENFORCED,
        "token": ENFORCED,
        "sort_by": ENFORCED,
        "org": _NO_ORG,
    },
    task_pb2.TaskCreateRequest.DESCRIPTOR.full_name: {"id": ENFORCED, "spec": ENFORCED},
    task_pb2.TaskSpec.DESCRIPTOR.full_name: {"template": ENFORCED, "description": RECORDED},
    workflow_pb2.WorkflowCreateRequest.DESCRIPTOR.full_name: {"id": ENFORCED, "spec": ENFORCED},
    workflow_pb2.WorkflowSpec.DESCRIPTOR.full_name: {
        "template": ENFORCED,
        "sub_workflows": ENFORCED,
        "description": RECORDED,
    },
    project_pb2.ProjectRegisterRequest.DESCRIPTOR.full_name: {"project": ENFORCED},
    project_pb2.Project.DESCRIPTOR.full_name: {
        "id": ENFORCED,
        "name": RECORDED,
        "domains": _refused("domains belong to the installation, leave it empty"),
        "description": RECORDED,
        "labels": _unbuilt("labels of projects are not supported"),
        "state": _unbuilt("archived projects are not supported, leave it ACTIVE"),
        "org": _NO_ORG,
    },
    project_pb2.ProjectListRequest.DESCRIPTOR.full_name: {
        "limit": ENFORCED,
        "token": ENFORCED,
        "filters": ENFORCED,
        "sort_by": ENFORCED,
        "org": _NO_ORG,
    },
    dataproxy_pb2.CreateUploadLocationRequest.DESCRIPTOR.full_name: {
        "project": ENFORCED,
        "domain": ENFORCED,
        "filename": ENFORCED,
        "expires_in": ENFORCED,
        "content_md5": ENFORCED,
        "filename_root": ENFORCED,
        "add_content_md5_metadata": ENFORCED,  # the address carries the MD5 itself: no header has to
        "org": _NO_ORG,
    },
    dataproxy_pb2.CreateDownloadLinkRequest.DESCRIPTOR.full_name: {
        "artifact_type": ENFORCED,
        "expires_in": ENFORCED,
        "node_execution_id": ENFORCED,
    },
}


def refuse_unsupported(message: Message, path: str = "") -> None:
    """Raises the refusal of the first field that is set and not supported, naming it by its path.

    Messages inside the message are looked into where they have a table of their own.
    """
    table = TREATMENTS[message.DESCRIPTOR.full_name]
    for field, value in message.ListFields():
        where = f"{path}.{field.name}" if path else field.name
        treatment = table[field.name]
        if treatment.refusal is not None:
            raise treatment.refusal(f"{where}: {treatment.reason}")
        if field.message_type and field.message_type.full_name in TREATMENTS and not field.is_repeated:
            refuse_unsupported(value, where)
