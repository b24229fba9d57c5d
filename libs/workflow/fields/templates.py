"""What tasks and workflows say of themselves."""

from __future__ import annotations

from typing import Final

from flyteidl.core import dynamic_job_pb2, interface_pb2, literals_pb2, security_pb2, tasks_pb2, workflow_pb2

from libs.workflow.fields.rules import (
    ENFORCED,
    FOR_PEOPLE,
    NO_ARTIFACTS,
    NO_PLUGINS,
    Table,
    all_enforced,
    enforced,
    recorded,
    unbuilt,
    with_pods,
)

WORKFLOWS: Final[Table] = {
    workflow_pb2.WorkflowTemplate.DESCRIPTOR.full_name: {
        **all_enforced("id", "metadata", "interface", "nodes", "outputs", "metadata_defaults", "failure_node"),
    },
    workflow_pb2.WorkflowMetadata.DESCRIPTOR.full_name: {
        **all_enforced("quality_of_service", "on_failure"),
        "tags": FOR_PEOPLE,
    },
    workflow_pb2.WorkflowMetadataDefaults.DESCRIPTOR.full_name: all_enforced("interruptible"),
    workflow_pb2.Node.DESCRIPTOR.full_name: {
        **all_enforced("id", "metadata", "inputs", "upstream_node_ids", "output_aliases"),
        **all_enforced("task_node", "workflow_node", "branch_node", "gate_node", "array_node"),
    },
    workflow_pb2.WorkflowNode.DESCRIPTOR.full_name: all_enforced("launchplan_ref", "sub_workflow_ref"),
    workflow_pb2.BranchNode.DESCRIPTOR.full_name: all_enforced("if_else"),
    workflow_pb2.IfElseBlock.DESCRIPTOR.full_name: all_enforced("case", "other", "else_node", "error"),
    workflow_pb2.IfBlock.DESCRIPTOR.full_name: all_enforced("condition", "then_node"),
    workflow_pb2.GateNode.DESCRIPTOR.full_name: all_enforced("approve", "signal", "sleep"),
    workflow_pb2.ApproveCondition.DESCRIPTOR.full_name: all_enforced("signal_id"),
    workflow_pb2.SignalCondition.DESCRIPTOR.full_name: all_enforced("signal_id", "type", "output_variable_name"),
    workflow_pb2.SleepCondition.DESCRIPTOR.full_name: all_enforced("duration"),
    workflow_pb2.ArrayNode.DESCRIPTOR.full_name: {
        **all_enforced("node", "parallelism", "min_successes", "min_success_ratio", "bound_inputs"),
        **all_enforced("is_original_sub_node_interface", "run_all_sub_nodes"),
        "execution_mode": recorded("every item has its own state in both modes"),
        "data_mode": recorded("items of the inner node's own interface have inputs of their own, others the lists"),
    },
    workflow_pb2.NodeMetadata.DESCRIPTOR.full_name: {
        **all_enforced("name", "timeout", "retries", "interruptible"),
        **all_enforced("cacheable", "cache_version", "cache_serializable"),
        "config": NO_PLUGINS,
    },
    workflow_pb2.Alias.DESCRIPTOR.full_name: all_enforced("var", "alias"),
    workflow_pb2.TaskNode.DESCRIPTOR.full_name: all_enforced("reference_id", "overrides"),
    workflow_pb2.TaskNodeOverrides.DESCRIPTOR.full_name: {
        **all_enforced("resources", "extended_resources", "container_image"),
        "pod_template": with_pods("laid over the task's own pod"),
    },
    # What a dynamic task asks for when it runs.
    dynamic_job_pb2.DynamicJobSpec.DESCRIPTOR.full_name: {
        **all_enforced("nodes", "tasks", "subworkflows", "outputs"),
        "min_successes": recorded("all of its nodes have to succeed, which is what SDKs ask for"),
    },
}

TASKS: Final[Table] = {
    tasks_pb2.TaskTemplate.DESCRIPTOR.full_name: {
        **all_enforced("id", "type", "metadata", "interface", "container", "security_context", "extended_resources"),
        "custom": recorded("the task's own process reads it"),
        "k8s_pod": with_pods("its primary container is the task, others run beside it"),
        "sql": unbuilt("queries that a plugin runs are not built yet: run the query in a task of your own"),
        "task_type_version": recorded("there is one version of each task type"),
        "config": enforced(
            "`airscrew/retry.backoff`, `airscrew/reuse`, `airscrew/warm`; others are for plugins: there are none"
        ),
    },
    tasks_pb2.TaskMetadata.DESCRIPTOR.full_name: {
        "timeout": enforced("where the task runs by itself; in a workflow its node's counts, to which SDKs copy it"),
        **all_enforced("retries", "interruptible", "is_eager"),
        **all_enforced("discoverable", "discovery_version", "cache_serializable", "cache_ignore_input_vars"),
        "runtime": recorded("which SDK registered the task"),
        "deprecated_error_message": FOR_PEOPLE,
        "tags": FOR_PEOPLE,
        "pod_template_name": with_pods("a PodTemplate of the pods' namespace, below what the task says itself"),
        "generates_deck": recorded("a deck is found wherever a task writes one"),
        "metadata": with_pods("labels and annotations of the pod", recorded("for pods, of which there are none")),
    },
    tasks_pb2.Container.DESCRIPTOR.full_name: {
        **all_enforced("image", "command", "args", "resources", "env"),
        "config": NO_PLUGINS,
        "ports": with_pods("ports of the container", recorded("task processes may listen where they like")),
        "data_config": with_pods("its inputs lie there as files, and files become its outputs"),
        "architecture": recorded("tasks run on the architecture of the machine that they come to"),
    },
    tasks_pb2.Resources.DESCRIPTOR.full_name: {
        "requests": with_pods(
            "requests of the container", enforced("cpu, memory and gpu; what is asked of disks is recorded only")
        ),
        "limits": with_pods("limits of the container", enforced("as requests, where there are none")),
    },
    tasks_pb2.Resources.ResourceEntry.DESCRIPTOR.full_name: all_enforced("name", "value"),
    tasks_pb2.ExtendedResources.DESCRIPTOR.full_name: {
        "gpu_accelerator": with_pods("the kind of node that the pod goes to"),
        "shared_memory": with_pods("a volume in memory"),
    },
    tasks_pb2.GPUAccelerator.DESCRIPTOR.full_name: all_enforced("device", "unpartitioned", "partition_size"),
    tasks_pb2.SharedMemory.DESCRIPTOR.full_name: all_enforced("mount_path", "mount_name", "size_limit"),
    tasks_pb2.ContainerPort.DESCRIPTOR.full_name: all_enforced("container_port", "name"),
    tasks_pb2.K8sPod.DESCRIPTOR.full_name: all_enforced(
        "metadata", "pod_spec", "data_config", "primary_container_name"
    ),
    tasks_pb2.K8sObjectMetadata.DESCRIPTOR.full_name: all_enforced("labels", "annotations"),
    tasks_pb2.DataLoadingConfig.DESCRIPTOR.full_name: all_enforced(
        "enabled", "input_path", "output_path", "format", "io_strategy"
    ),
    tasks_pb2.IOStrategy.DESCRIPTOR.full_name: {
        "download_mode": enforced("a stream comes whole, before the container starts"),
        "upload_mode": enforced("eager is on exit"),
    },
    security_pb2.SecurityContext.DESCRIPTOR.full_name: {
        **all_enforced("run_as", "secrets"),
        "tokens": unbuilt("OAuth2 tokens for tasks are not built yet: the task would run without them"),
    },
    security_pb2.Identity.DESCRIPTOR.full_name: {
        "iam_role": recorded("a role of the cloud belongs to a service account"),
        "k8s_service_account": with_pods(
            "the pod's service account", recorded("task processes run as the executor's user")
        ),
        "oauth2_client": recorded("tasks reach the API as everybody does"),
        "execution_identity": FOR_PEOPLE,
    },
    security_pb2.Secret.DESCRIPTOR.full_name: {
        **all_enforced("group", "group_version", "key", "mount_requirement", "env_var"),
    },
    literals_pb2.RetryStrategy.DESCRIPTOR.full_name: all_enforced("retries"),
    literals_pb2.KeyValuePair.DESCRIPTOR.full_name: all_enforced("key", "value"),
}

INTERFACES: Final[Table] = {
    interface_pb2.TypedInterface.DESCRIPTOR.full_name: all_enforced("inputs", "outputs"),
    interface_pb2.VariableMap.DESCRIPTOR.full_name: all_enforced("variables"),
    interface_pb2.Variable.DESCRIPTOR.full_name: {
        "type": ENFORCED,
        "description": FOR_PEOPLE,
        "artifact_partial_id": NO_ARTIFACTS,
        "artifact_tag": NO_ARTIFACTS,
    },
    interface_pb2.ParameterMap.DESCRIPTOR.full_name: all_enforced("parameters"),
    interface_pb2.Parameter.DESCRIPTOR.full_name: {
        **all_enforced("var", "default", "required"),
        "artifact_query": unbuilt("there is no artifact service: give a value as default"),
        "artifact_id": unbuilt("there is no artifact service: give a value as default"),
    },
}
