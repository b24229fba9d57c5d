"""Every field of a request has a decided treatment."""

from __future__ import annotations

import pytest
from flyteidl.admin import execution_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service import dataproxy_pb2
from google.protobuf.message import Message

from libs.workflow.errors import AirscrewError, InvalidArgument, Unimplemented
from services.admin import fields

DECIDED: list[type[Message]] = [
    execution_pb2.ExecutionCreateRequest,
    execution_pb2.ExecutionRelaunchRequest,
    launch_plan_pb2.LaunchPlanCreateRequest,
    launch_plan_pb2.ActiveLaunchPlanListRequest,
    task_pb2.TaskCreateRequest,
    task_pb2.TaskSpec,
    workflow_pb2.WorkflowCreateRequest,
    workflow_pb2.WorkflowSpec,
    project_pb2.ProjectRegisterRequest,
    project_pb2.Project,
    project_pb2.ProjectListRequest,
    dataproxy_pb2.CreateUploadLocationRequest,
    dataproxy_pb2.CreateDownloadLinkRequest,
]


@pytest.mark.parametrize("message", DECIDED, ids=lambda message: message.DESCRIPTOR.name)
def test_every_field_of_the_message_has_a_treatment(message: type[Message]) -> None:
    assert set(fields.TREATMENTS[message.DESCRIPTOR.full_name]) == set(message.DESCRIPTOR.fields_by_name)


def test_no_treatment_is_for_a_message_that_nobody_sends() -> None:
    assert set(fields.TREATMENTS) == {message.DESCRIPTOR.full_name for message in DECIDED}


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (execution_pb2.ExecutionCreateRequest(org="o"), InvalidArgument, "org: "),
        (
            project_pb2.ProjectRegisterRequest(project={"id": "p", "domains": [{"id": "d"}]}),
            InvalidArgument,
            "project.domains: ",
        ),
        (
            project_pb2.ProjectRegisterRequest(project={"id": "p", "state": project_pb2.Project.ARCHIVED}),
            Unimplemented,
            "project.state: ",
        ),
    ],
)
def test_a_refusal_names_the_field(request_: Message, error: type[AirscrewError], field: str) -> None:
    with pytest.raises(error) as caught:
        fields.refuse_unsupported(request_)
    assert caught.value.message.startswith(field)


def test_recorded_and_enforced_fields_pass() -> None:
    request = execution_pb2.ExecutionCreateRequest(
        project="p",
        domain="d",
        name="n",
        spec=execution_pb2.ExecutionSpec(
            launch_plan=identifier_pb2.Identifier(name="lp"), tags=["t"], max_parallelism=3, overwrite_cache=True
        ),
    )
    fields.refuse_unsupported(request)
