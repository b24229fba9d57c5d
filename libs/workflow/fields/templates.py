"""What tasks and workflows say of themselves."""

from __future__ import annotations

from typing import Final

from flyteidl.core import interface_pb2, literals_pb2, security_pb2, tasks_pb2, workflow_pb2

from libs.workflow.fields.rules import (
    ENFORCED,
    FOR_PEOPLE,
    IDENTITY,
    NO_ARTIFACTS,
    NO_CACHE,
    NO_CLASSES,
    NO_PLUGINS,
    NO_POD,
    ON_PREEMPTIBLE,
    ONLY_WITH_CACHE,
    Table,
    all_enforced,
    enforced,
    recorded,
    unbuilt,
)

WORKFLOWS: Final[Table] = {
    workflow_pb2.WorkflowTemplate.DESCRIPTOR.full_name: {
        **all_enforced("id", "metadata", "interface", "nodes", "outputs", "metadata_defaults"),
        "failure_node": unbuilt("failure nodes are not built yet: register the workflow without on_failure"),
    },
    workflow_pb2.WorkflowMetadata.DESCRIPTOR.full_name: {
        "quality_of_service": NO_CLASSES,
        "on_failure": ENFORCED,
        "tags": FOR_PEOPLE,
    },
    workflow_pb2.WorkflowMetadataDefaults.DESCRIPTOR.full_name: {"interruptible": ON_PREEMPTIBLE},
    workflow_pb2.Node.DESCRIPTOR.full_name: {
        **all_enforced("id", "metadata", "inputs", "upstream_node_ids", "output_aliases", "task_node", "workflow_node"),
        "branch_node": unbuilt("branches (conditional) are not built yet"),
        "gate_node": unbuilt("gates (approve, wait_for_input, sleep) are not built yet"),
        "array_node": unbuilt("array nodes (map_task) are not built yet"),
    },
    workflow_pb2.WorkflowNode.DESCRIPTOR.full_name: {
        "launchplan_ref": unbuilt("launch plans as nodes are not built yet: call the workflow itself"),
        "sub_workflow_ref": ENFORCED,
    },
    workflow_pb2.NodeMetadata.DESCRIPTOR.full_name: {
        **all_enforced("name", "timeout", "retries"),
        "interruptible": ON_PREEMPTIBLE,
        "cacheable": NO_CACHE,
        "cache_version": ONLY_WITH_CACHE,
        "cache_serializable": NO_CACHE,
        "config": NO_PLUGINS,
    },
    workflow_pb2.Alias.DESCRIPTOR.full_name: all_enforced("var", "alias"),
    workflow_pb2.TaskNode.DESCRIPTOR.full_name: all_enforced("reference_id", "overrides"),
    workflow_pb2.TaskNodeOverrides.DESCRIPTOR.full_name: {
        **all_enforced("resources", "extended_resources", "container_image"),
        "pod_template": NO_POD,
    },
}

TASKS: Final[Table] = {
    tasks_pb2.TaskTemplate.DESCRIPTOR.full_name: {
        **all_enforced("id", "type", "metadata", "interface", "container", "security_context", "extended_resources"),
        "custom": recorded("the task's own process reads it"),
        "k8s_pod": NO_POD,
        "sql": unbuilt("queries that a plugin runs are not built yet: run the query in a task of your own"),
        "task_type_version": recorded("there is one version of each task type"),
        "config": NO_PLUGINS,
    },
    tasks_pb2.TaskMetadata.DESCRIPTOR.full_name: {
        **all_enforced("timeout", "retries"),
        "discoverable": NO_CACHE,
        "runtime": recorded("which SDK registered the task"),
        "discovery_version": ONLY_WITH_CACHE,
        "deprecated_error_message": FOR_PEOPLE,
        "interruptible": ON_PREEMPTIBLE,
        "cache_serializable": NO_CACHE,
        "tags": FOR_PEOPLE,
        "pod_template_name": NO_POD,
        "cache_ignore_input_vars": ONLY_WITH_CACHE,
        "is_eager": recorded("eager tasks run like others, and launch executions of their own"),
        "generates_deck": recorded("a deck is found wherever a task writes one"),
        "metadata": recorded("labels and annotations of pods, of which there are none"),
    },
    tasks_pb2.Container.DESCRIPTOR.full_name: {
        **all_enforced("image", "command", "args", "resources", "env"),
        "config": NO_PLUGINS,
        "ports": recorded("task processes may listen where they like"),
        "data_config": unbuilt("raw containers (ContainerTask) are not built yet: use a Python or shell task"),
        "architecture": recorded("tasks run on the executor's architecture"),
    },
    tasks_pb2.Resources.DESCRIPTOR.full_name: {
        "requests": enforced("cpu, memory and gpu; what is asked of disks is recorded only"),
        "limits": enforced("as requests, where there are none"),
    },
    tasks_pb2.Resources.ResourceEntry.DESCRIPTOR.full_name: all_enforced("name", "value"),
    tasks_pb2.ExtendedResources.DESCRIPTOR.full_name: {
        "gpu_accelerator": unbuilt("choosing a kind of accelerator is not built yet: ask for a number of GPUs"),
        "shared_memory": unbuilt("sizing shared memory is not built yet: task processes share the machine's"),
    },
    security_pb2.SecurityContext.DESCRIPTOR.full_name: {
        "run_as": IDENTITY,
        "secrets": unbuilt("secrets are not built yet: the task would run without them"),
        "tokens": unbuilt("OAuth2 tokens for tasks are not built yet: the task would run without them"),
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
