from __future__ import annotations

import pytest
from flyteidl.admin import launch_plan_pb2, schedule_pb2
from flyteidl.core import tasks_pb2
from google.protobuf.message import Message

from libs.workflow import supported
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


TASKS = [
    (changed(type="spark"), "task.type: tasks of type 'spark'"),
    (changed(type="raw-container"), "task.type"),
    (changed(container__args=["echo", "hi"]), "task.container.args: the command 'echo'"),
    (changed(container__args=[]), "task.container.args: the command '(none)'"),
    (changed(type="container_array", container__args=["pyflyte-map-execute"]), "task.type"),
    (changed(k8s_pod=tasks_pb2.K8sPod(primary_container_name="main")), "without container"),
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
        changed(container__args=["pyflyte-map-execute", "--inputs", "{{.input}}"]),
        changed(container__args=["pyflyte-fast-execute", "--dest-dir", ".", "--", "pyflyte-map-execute"]),
        changed(type="sqlite"),
        tasks_pb2.TaskTemplate(type="echo"),
    ],
)
def test_a_task_of_the_sdk_is_accepted(template: tasks_pb2.TaskTemplate) -> None:
    supported.refuse_unbuilt_task(template)


def test_a_launch_plan_with_a_schedule_is_not_activated() -> None:
    spec = launch_plan_pb2.LaunchPlanSpec(
        entity_metadata={"schedule": {"rate": {"value": 1, "unit": schedule_pb2.DAY}}}
    )
    with pytest.raises(Unimplemented, match=r"spec\.entity_metadata\.schedule"):
        supported.refuse_unbuilt_activation(spec)
    supported.refuse_unbuilt_activation(launch_plan_pb2.LaunchPlanSpec(entity_metadata={"schedule": {}}))
