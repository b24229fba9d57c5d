from __future__ import annotations

from collections.abc import Callable

import pytest
from flyteidl.admin import execution_pb2, launch_plan_pb2, schedule_pb2
from flyteidl.core import security_pb2, tasks_pb2, workflow_pb2
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from libs.workflow import supported
from libs.workflow.errors import Unimplemented
from tests.support.flytetypes import INTEGER
from tests.support.templates import node, plan_node, sub_node, task_template, workflow

SECRET = security_pb2.SecurityContext(secrets=[security_pb2.Secret(key="k")])


@pytest.mark.parametrize("message", sorted(supported.FIELDS))
def test_the_table_has_every_field_of_every_message_it_names(message: str) -> None:
    fields = descriptor_pool.Default().FindMessageTypeByName(message).fields_by_name
    assert set(supported.FIELDS[message]) == set(fields)


def test_whatever_is_not_enforced_has_a_reason() -> None:
    for rules in supported.FIELDS.values():
        for field, rule in rules.items():
            assert rule.fate is supported.Fate.ENFORCED or rule.reason, field


def changed(**fields: object) -> tasks_pb2.TaskTemplate:
    """A task that runs, but for these fields."""
    template = task_template("t", {"a": INTEGER})
    for path, one in fields.items():
        *parents, last = path.split("__")
        inside: Message = template
        for parent in parents:
            inside = getattr(inside, parent)
        if isinstance(one, Message):
            getattr(inside, last).CopyFrom(one)
        elif isinstance(one, list):
            getattr(inside, last)[:] = one
        else:
            setattr(inside, last, one)
    return template


TASKS = [
    (changed(metadata__discoverable=True), "task.metadata.discoverable"),
    (changed(metadata__cache_serializable=True), "task.metadata.cache_serializable"),
    (changed(metadata__pod_template_name="p"), "task.metadata.pod_template_name"),
    (changed(security_context=SECRET), "task.security_context.secrets"),
    (changed(k8s_pod=tasks_pb2.K8sPod(primary_container_name="c")), "task.k8s_pod"),
    (changed(container__data_config=tasks_pb2.DataLoadingConfig(enabled=True)), "task.container.data_config"),
    (
        changed(extended_resources=tasks_pb2.ExtendedResources(gpu_accelerator=tasks_pb2.GPUAccelerator(device="a"))),
        "task.extended_resources.gpu_accelerator",
    ),
    (changed(type="spark"), "task.type: tasks of type 'spark'"),
    (changed(type="raw-container"), "task.type"),
    (changed(container__args=["echo", "hi"]), "task.container.args: the command 'echo'"),
    (changed(container__args=[]), "task.container.args: the command '(none)'"),
    (changed(container__args=["pyflyte-fast-execute", "--", "pyflyte-map-execute"]), "pyflyte-map-execute"),
    (tasks_pb2.TaskTemplate(type="bigquery"), "task.container: a task of type 'bigquery' without container"),
]


@pytest.mark.parametrize(("template", "part"), TASKS)
def test_a_task_that_cannot_run_is_refused_by_name(template: tasks_pb2.TaskTemplate, part: str) -> None:
    with pytest.raises(Unimplemented) as caught:
        supported.refuse_unbuilt_task(template)
    assert part in caught.value.message


@pytest.mark.parametrize(
    "template",
    [
        task_template("t"),
        changed(container__args=["pyflyte-fast-execute", "--dest-dir", ".", "--", "pyflyte-execute"]),
        changed(type="sqlite"),
        changed(metadata__interruptible=False, metadata__discoverable=False),
        changed(security_context=security_pb2.SecurityContext(run_as=security_pb2.Identity(iam_role="r"))),
    ],
)
def test_a_task_of_the_sdk_is_accepted(template: tasks_pb2.TaskTemplate) -> None:
    supported.refuse_unbuilt_task(template)


def with_metadata(**fields: object) -> workflow_pb2.Node:
    one = node("n0", "t")
    for field, content in fields.items():
        setattr(one.metadata, field, content)
    return one


def failing() -> workflow_pb2.WorkflowTemplate:
    template = workflow(node("n0", "t"))
    template.failure_node.CopyFrom(node("fn0", "t"))
    return template


WORKFLOWS = [
    (workflow(workflow_pb2.Node(id="n0", branch_node={"if_else": {"error": {}}})), "workflow.nodes.n0.branch_node"),
    (workflow(workflow_pb2.Node(id="n0", gate_node={"sleep": {}})), "workflow.nodes.n0.gate_node"),
    (workflow(workflow_pb2.Node(id="n0", array_node={"parallelism": 1})), "workflow.nodes.n0.array_node"),
    (workflow(plan_node("n0", "p")), "workflow.nodes.n0.workflow_node.launchplan_ref"),
    (workflow(with_metadata(cacheable=True)), "workflow.nodes.n0.metadata.cacheable"),
    (failing(), "workflow.failure_node"),
    (
        workflow(
            workflow_pb2.Node(id="n0", task_node={"overrides": {"pod_template": {"primary_container_name": "c"}}})
        ),
        "workflow.nodes.n0.task_node.overrides.pod_template",
    ),
]


@pytest.mark.parametrize(("template", "part"), WORKFLOWS)
def test_a_workflow_that_cannot_run_is_refused_by_node_and_field(
    template: workflow_pb2.WorkflowTemplate, part: str
) -> None:
    with pytest.raises(Unimplemented) as caught:
        supported.refuse_unbuilt(template)
    assert part in caught.value.message
    with pytest.raises(Unimplemented, match="sub-workflow p:d:wf:v"):
        supported.refuse_unbuilt(workflow(sub_node("n0", "wf")), [template])


def test_a_workflow_of_tasks_and_sub_workflows_is_accepted_with_what_sdks_write_by_default() -> None:
    one = with_metadata(cacheable=False, interruptible=False, name="t")
    one.task_node.overrides.resources.SetInParent()
    one.task_node.overrides.pod_template.SetInParent()
    supported.refuse_unbuilt(workflow(one, sub_node("n1", "wf")), [workflow(node("n0", "t"))])


LaunchPlanSpec = launch_plan_pb2.LaunchPlanSpec
ExecutionSpec = execution_pb2.ExecutionSpec
SPECS: list[tuple[Callable[..., None], Message, str]] = [
    (supported.refuse_unbuilt_execution, ExecutionSpec(security_context=SECRET), "spec.security_context.secrets"),
    (
        supported.refuse_unbuilt_execution,
        ExecutionSpec(execution_env_assignments=[{"task_type": "t"}]),
        "spec.execution_env_assignments",
    ),
    (supported.refuse_unbuilt_launch_plan, LaunchPlanSpec(concurrency_policy={"max": 1}), "spec.concurrency_policy"),
    (
        supported.refuse_unbuilt_launch_plan,
        LaunchPlanSpec(default_inputs={"parameters": {"x": {"artifact_id": {"version": "1"}}}}),
        "spec.default_inputs.x.artifact_id",
    ),
    (
        supported.refuse_unbuilt_activation,
        LaunchPlanSpec(entity_metadata={"schedule": {"rate": {"value": 1, "unit": schedule_pb2.DAY}}}),
        "spec.entity_metadata.schedule",
    ),
]


@pytest.mark.parametrize(("refuse", "spec", "part"), SPECS)
def test_a_setting_without_the_effect_it_should_have_is_refused(
    refuse: Callable[..., None], spec: Message, part: str
) -> None:
    with pytest.raises(Unimplemented) as caught:
        refuse(spec)
    assert part in caught.value.message


def test_settings_that_are_enforced_or_recorded_are_accepted() -> None:
    spec = ExecutionSpec(max_parallelism=3, tags=["t"], disable_all=True, envs={"values": [{"key": "a"}]})
    supported.refuse_unbuilt_execution(spec)
    plan = LaunchPlanSpec(max_parallelism=3, entity_metadata={"schedule": {"cron_expression": "* * * * *"}})
    supported.refuse_unbuilt_launch_plan(plan)
    supported.refuse_unbuilt_activation(LaunchPlanSpec(entity_metadata={"schedule": {}}))
