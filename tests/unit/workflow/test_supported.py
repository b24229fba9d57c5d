from __future__ import annotations

import pytest
from flyteidl.admin import launch_plan_pb2, schedule_pb2
from flyteidl.core import tasks_pb2, workflow_pb2
from google.protobuf.message import Message

from libs.workflow import supported
from libs.workflow.backend import Backend
from libs.workflow.errors import Unimplemented
from tests.support.flytetypes import INTEGER
from tests.support.templates import task_template


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


PODS = [
    (changed(type="raw-container"), "task.type: 'raw-container' is a container with a command of its own"),
    (changed(type="sidecar", k8s_pod=tasks_pb2.K8sPod()), "task.type: 'sidecar' is a pod of several containers"),
    (changed(k8s_pod=tasks_pb2.K8sPod(primary_container_name="main")), "task.k8s_pod: "),
    (changed(container__args=["echo", "hi"]), "task.container.args: the command 'echo'"),
    (changed(container__args=[]), "task.container.args: the command '(none)'"),
    (changed(container__data_config__enabled=True), "task.container.data_config: "),
    (changed(metadata__pod_template_name="gpu"), "task.metadata.pod_template_name: "),
    (changed(extended_resources__gpu_accelerator__device="t4"), "task.extended_resources.gpu_accelerator: "),
    (changed(extended_resources__shared_memory__size_limit="1Gi"), "task.extended_resources.shared_memory: "),
]
"""What only a pod can run, and what is said where tasks are processes."""

NEVER = [
    (changed(type="spark"), "task.type: tasks of type 'spark'"),
    (changed(type="container_array", container__args=["pyflyte-map-execute"]), "task.type"),
    (tasks_pb2.TaskTemplate(type="bigquery"), "task.container: a task of type 'bigquery' without container"),
    (tasks_pb2.TaskTemplate(type="sql", sql={"statement": "select 1"}), "task.container: a task of type 'sql'"),
]


@pytest.mark.parametrize(("template", "part"), PODS)
def test_a_task_that_only_a_pod_can_run_is_refused_where_tasks_are_processes(
    template: tasks_pb2.TaskTemplate, part: str
) -> None:
    with pytest.raises(Unimplemented) as caught:
        supported.refuse_unbuilt_task(template, Backend.PROCESS)
    assert part in caught.value.message
    assert "AIRSCREW_TASK_BACKEND=pod" in caught.value.message
    supported.refuse_unbuilt_task(template, Backend.POD)


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize(("template", "part"), NEVER)
def test_a_task_that_cannot_run_is_refused_by_name(
    template: tasks_pb2.TaskTemplate, part: str, backend: Backend
) -> None:
    with pytest.raises(Unimplemented) as caught:
        supported.refuse_unbuilt_task(template, backend)
    assert part in caught.value.message


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize(
    "template",
    [
        task_template("t"),
        changed(container__args=["pyflyte-fast-execute", "--dest-dir", ".", "--", "pyflyte-execute"]),
        changed(container__args=["pyflyte-map-execute", "--inputs", "{{.input}}"]),
        changed(container__args=["pyflyte-fast-execute", "--dest-dir", ".", "--", "pyflyte-map-execute"]),
        changed(type="sqlite"),
        tasks_pb2.TaskTemplate(type="echo"),
    ],
)
def test_a_task_of_the_sdk_is_accepted(template: tasks_pb2.TaskTemplate, backend: Backend) -> None:
    supported.refuse_unbuilt_task(template, backend)


def test_a_node_may_ask_for_a_pod_as_well() -> None:
    wish = supported.wish_of_a_node_for_a_pod
    assert wish(workflow_pb2.TaskNodeOverrides(pod_template={})) == "pod_template"
    memory = workflow_pb2.TaskNodeOverrides(extended_resources={"shared_memory": {}})
    assert wish(memory) == "extended_resources.shared_memory"
    assert not wish(workflow_pb2.TaskNodeOverrides(container_image="other"))


def test_a_launch_plan_with_a_schedule_is_not_activated() -> None:
    spec = launch_plan_pb2.LaunchPlanSpec(
        entity_metadata={"schedule": {"rate": {"value": 1, "unit": schedule_pb2.DAY}}}
    )
    with pytest.raises(Unimplemented, match=r"spec\.entity_metadata\.schedule"):
        supported.refuse_unbuilt_activation(spec)
    supported.refuse_unbuilt_activation(launch_plan_pb2.LaunchPlanSpec(entity_metadata={"schedule": {}}))
