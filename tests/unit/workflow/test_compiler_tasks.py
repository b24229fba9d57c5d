from __future__ import annotations

import pytest
from flyteidl.core import tasks_pb2

from libs.workflow import compiler
from libs.workflow.compiler import Code
from tests.support.flytetypes import INTEGER, simple
from tests.support.templates import identifier, interface, task_template

BAD_TASKS = [
    (tasks_pb2.TaskTemplate(container=tasks_pb2.Container(image="i")), Code.VALUE_REQUIRED, "id is missing"),
    (
        tasks_pb2.TaskTemplate(
            id=identifier("t"), interface=interface({"x": INTEGER}), container=tasks_pb2.Container(image="i")
        ),
        Code.VALUE_REQUIRED,
        "container.args",
    ),
    (tasks_pb2.TaskTemplate(id=identifier("t"), container={}), Code.VALUE_REQUIRED, "container.image"),
    (
        tasks_pb2.TaskTemplate(
            id=identifier("t"),
            container=tasks_pb2.Container(
                image="i", resources={"limits": [{"name": tasks_pb2.Resources.MEMORY, "value": "lots"}]}
            ),
        ),
        Code.UNRECOGNIZED_VALUE,
        "limits.MEMORY",
    ),
    (tasks_pb2.TaskTemplate(id=identifier("t"), k8s_pod={}), Code.VALUE_REQUIRED, "pod_spec"),
    (
        tasks_pb2.TaskTemplate(id=identifier("t"), k8s_pod={"pod_spec": {"containers": [{"name": "No Label"}]}}),
        Code.INVALID_VALUE,
        "containers[0].name",
    ),
    (
        tasks_pb2.TaskTemplate(id=identifier("t"), k8s_pod={"pod_spec": {"containers": "one"}}),
        Code.INVALID_VALUE,
        "must be a list",
    ),
]


@pytest.mark.parametrize(("template", "code", "part"), BAD_TASKS)
def test_a_task_that_is_not_complete_is_refused(template: tasks_pb2.TaskTemplate, code: Code, part: str) -> None:
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_task(template)
    assert any(error.code is code and part in error.message for error in caught.value.errors), caught.value.message


def test_a_complete_task_is_wrapped_as_it_is() -> None:
    template = task_template("t", {"x": INTEGER, "when": simple("DATETIME")})
    assert compiler.compile_task(template).template == template
