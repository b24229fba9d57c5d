"""What clients ask of the front door, and how they name things."""

from __future__ import annotations

from typing import Final

from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    signal_pb2,
    task_execution_pb2,
    task_pb2,
    version_pb2,
    workflow_pb2,
)
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service import dataproxy_pb2, identity_pb2

from libs.workflow.fields.rules import (
    ENFORCED,
    FOR_PEOPLE,
    IDENTITY,
    NO_ENVIRONMENTS,
    NO_ORG,
    NOBODY_NOTIFIED,
    ONE_CLUSTER,
    Table,
    all_enforced,
    enforced,
    recorded,
    unbuilt,
    wrong,
)

_PAGE: Final = all_enforced("limit", "token", "sort_by")
_FILTERED: Final = all_enforced("limit", "token", "sort_by", "filters")

REGISTRATION: Final[Table] = {
    task_pb2.TaskCreateRequest.DESCRIPTOR.full_name: all_enforced("id", "spec"),
    task_pb2.TaskSpec.DESCRIPTOR.full_name: {"template": ENFORCED, "description": FOR_PEOPLE},
    workflow_pb2.WorkflowCreateRequest.DESCRIPTOR.full_name: all_enforced("id", "spec"),
    workflow_pb2.WorkflowSpec.DESCRIPTOR.full_name: {
        **all_enforced("template", "sub_workflows"),
        "description": FOR_PEOPLE,
    },
    launch_plan_pb2.LaunchPlanCreateRequest.DESCRIPTOR.full_name: all_enforced("id", "spec"),
    launch_plan_pb2.LaunchPlanSpec.DESCRIPTOR.full_name: {
        **all_enforced("workflow_id", "entity_metadata", "default_inputs", "fixed_inputs", "security_context"),
        **all_enforced("raw_output_data_config", "max_parallelism", "envs", "quality_of_service", "interruptible"),
        "overwrite_cache": ENFORCED,
        "role": IDENTITY,
        "labels": recorded("executions inherit them"),
        "annotations": enforced("executions inherit them"),
        "auth": IDENTITY,
        "auth_role": IDENTITY,
        "execution_env_assignments": NO_ENVIRONMENTS,
        "cluster_assignment": ONE_CLUSTER,
        "concurrency_policy": unbuilt("limits on the executions of a launch plan are not built yet"),
    },
    launch_plan_pb2.LaunchPlanMetadata.DESCRIPTOR.full_name: {
        "schedule": recorded("refused when the launch plan is activated: schedules are not built yet"),
        "notifications": NOBODY_NOTIFIED,
        "launch_conditions": unbuilt("launch conditions (triggers) are not built yet"),
    },
    launch_plan_pb2.LaunchPlanUpdateRequest.DESCRIPTOR.full_name: all_enforced("id", "state"),
    project_pb2.ProjectRegisterRequest.DESCRIPTOR.full_name: all_enforced("project"),
    project_pb2.Project.DESCRIPTOR.full_name: {
        "id": ENFORCED,
        "name": FOR_PEOPLE,
        "domains": wrong("domains belong to the installation, leave it empty"),
        "description": FOR_PEOPLE,
        "labels": unbuilt("labels of projects are not supported"),
        "state": unbuilt("archived projects are not supported, leave it ACTIVE"),
        "org": NO_ORG,
    },
}

EXECUTIONS: Final[Table] = {
    execution_pb2.ExecutionCreateRequest.DESCRIPTOR.full_name: {
        **all_enforced("project", "domain", "name", "spec", "inputs"),
        "org": NO_ORG,
    },
    execution_pb2.ExecutionSpec.DESCRIPTOR.full_name: {
        **all_enforced("launch_plan", "inputs", "metadata", "security_context", "max_parallelism"),
        **all_enforced("raw_output_data_config", "envs", "quality_of_service", "interruptible", "overwrite_cache"),
        "notifications": NOBODY_NOTIFIED,
        "disable_all": NOBODY_NOTIFIED,
        "labels": enforced("executions are found by them; `eager-exec` names the execution whose task launches it"),
        "annotations": enforced("`airscrew/deadline`; all others are for people"),
        "auth_role": IDENTITY,
        "cluster_assignment": ONE_CLUSTER,
        "tags": enforced("executions are found by them"),
        "execution_cluster_label": ONE_CLUSTER,
        "execution_env_assignments": NO_ENVIRONMENTS,
    },
    execution_pb2.ExecutionMetadata.DESCRIPTOR.full_name: {
        "mode": recorded("how it was launched"),
        "principal": recorded("who launched it"),
        "nesting": FOR_PEOPLE,
        "scheduled_at": FOR_PEOPLE,
        "parent_node_execution": ENFORCED,
        "reference_execution": recorded("what it was relaunched from, or recovers"),
        "system_metadata": FOR_PEOPLE,
        "artifact_ids": FOR_PEOPLE,
    },
    common_pb2.Envs.DESCRIPTOR.full_name: all_enforced("values"),
    common_pb2.RawOutputDataConfig.DESCRIPTOR.full_name: all_enforced("output_location_prefix"),
    execution_pb2.ExecutionRelaunchRequest.DESCRIPTOR.full_name: {
        **all_enforced("id", "name", "overwrite_cache"),
    },
    execution_pb2.ExecutionRecoverRequest.DESCRIPTOR.full_name: {
        **all_enforced("id", "name"),
        "metadata": enforced("replaces the original's; mode and reference are those of a recovery"),
    },
    common_pb2.Labels.DESCRIPTOR.full_name: all_enforced("values"),
    common_pb2.Annotations.DESCRIPTOR.full_name: all_enforced("values"),
    core_execution_pb2.QualityOfService.DESCRIPTOR.full_name: {
        "tier": enforced("work of a higher tier goes first"),
        "spec": recorded("nothing is given up because it has waited long"),
    },
    execution_pb2.ExecutionTerminateRequest.DESCRIPTOR.full_name: all_enforced("id", "cause"),
    signal_pb2.SignalSetRequest.DESCRIPTOR.full_name: all_enforced("id", "value"),
}

READING: Final[Table] = {
    common_pb2.ObjectGetRequest.DESCRIPTOR.full_name: all_enforced("id"),
    common_pb2.ResourceListRequest.DESCRIPTOR.full_name: {"id": ENFORCED, **_FILTERED},
    common_pb2.NamedEntityIdentifierListRequest.DESCRIPTOR.full_name: {
        **all_enforced("project", "domain"),
        **_FILTERED,
        "org": NO_ORG,
    },
    common_pb2.Sort.DESCRIPTOR.full_name: all_enforced("key", "direction"),
    launch_plan_pb2.ActiveLaunchPlanRequest.DESCRIPTOR.full_name: all_enforced("id"),
    launch_plan_pb2.ActiveLaunchPlanListRequest.DESCRIPTOR.full_name: {
        **all_enforced("project", "domain"),
        **_PAGE,
        "org": NO_ORG,
    },
    execution_pb2.WorkflowExecutionGetRequest.DESCRIPTOR.full_name: all_enforced("id"),
    execution_pb2.WorkflowExecutionGetDataRequest.DESCRIPTOR.full_name: all_enforced("id"),
    execution_pb2.WorkflowExecutionGetMetricsRequest.DESCRIPTOR.full_name: all_enforced("id", "depth"),
    node_execution_pb2.NodeExecutionGetRequest.DESCRIPTOR.full_name: all_enforced("id"),
    node_execution_pb2.NodeExecutionGetDataRequest.DESCRIPTOR.full_name: all_enforced("id"),
    node_execution_pb2.GetDynamicNodeWorkflowRequest.DESCRIPTOR.full_name: all_enforced("id"),
    node_execution_pb2.NodeExecutionListRequest.DESCRIPTOR.full_name: {
        **all_enforced("workflow_execution_id", "unique_parent_id"),
        **_FILTERED,
    },
    task_execution_pb2.TaskExecutionGetRequest.DESCRIPTOR.full_name: all_enforced("id"),
    task_execution_pb2.TaskExecutionGetDataRequest.DESCRIPTOR.full_name: all_enforced("id"),
    task_execution_pb2.TaskExecutionListRequest.DESCRIPTOR.full_name: {"node_execution_id": ENFORCED, **_FILTERED},
    signal_pb2.SignalListRequest.DESCRIPTOR.full_name: {
        "workflow_execution_id": ENFORCED,
        **_FILTERED,
    },
    project_pb2.ProjectListRequest.DESCRIPTOR.full_name: {**_FILTERED, "org": NO_ORG},
    project_pb2.GetDomainRequest.DESCRIPTOR.full_name: {},
    version_pb2.GetVersionRequest.DESCRIPTOR.full_name: {},
    identity_pb2.UserInfoRequest.DESCRIPTOR.full_name: {},
}

FILES: Final[Table] = {
    dataproxy_pb2.CreateUploadLocationRequest.DESCRIPTOR.full_name: {
        **all_enforced("project", "domain", "filename", "expires_in", "content_md5", "filename_root"),
        # The address carries the MD5 itself: no header has to.
        "add_content_md5_metadata": ENFORCED,
        "org": NO_ORG,
    },
    dataproxy_pb2.CreateDownloadLinkRequest.DESCRIPTOR.full_name: all_enforced(
        "artifact_type", "expires_in", "node_execution_id"
    ),
    dataproxy_pb2.GetDataRequest.DESCRIPTOR.full_name: all_enforced("flyte_url"),
}

NAMES: Final[Table] = {
    identifier_pb2.Identifier.DESCRIPTOR.full_name: {
        **all_enforced("resource_type", "project", "domain", "name", "version"),
        "org": NO_ORG,
    },
    common_pb2.NamedEntityIdentifier.DESCRIPTOR.full_name: {**all_enforced("project", "domain", "name"), "org": NO_ORG},
    identifier_pb2.WorkflowExecutionIdentifier.DESCRIPTOR.full_name: {
        **all_enforced("project", "domain", "name"),
        "org": NO_ORG,
    },
    identifier_pb2.NodeExecutionIdentifier.DESCRIPTOR.full_name: all_enforced("node_id", "execution_id"),
    identifier_pb2.TaskExecutionIdentifier.DESCRIPTOR.full_name: all_enforced(
        "task_id", "node_execution_id", "retry_attempt"
    ),
    identifier_pb2.SignalIdentifier.DESCRIPTOR.full_name: all_enforced("signal_id", "execution_id"),
}
