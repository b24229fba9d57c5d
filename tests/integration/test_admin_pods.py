"""Where tasks are pods, the front door takes the tasks that only pods can run; what no backend runs stays refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from flyteidl.admin import common_pb2, task_pb2
from flyteidl.core import identifier_pb2, tasks_pb2, types_pb2, workflow_pb2
from google.protobuf import json_format

from libs.workflow.backend import Backend
from tests.support import flyte
from tests.support.admin import door
from tests.support.flytetypes import INTEGER, variables
from tests.support.smalltasks import Registrar

SPEC = {"containers": [{"name": "main", "image": "busybox", "command": ["true"]}, {"name": "side", "image": "redis"}]}
RAW = tasks_pb2.TaskTemplate(
    type="raw-container",
    interface={"inputs": variables(n=INTEGER), "outputs": variables(o=types_pb2.LiteralType(simple=types_pb2.FLOAT))},
    container={
        "image": "alpine",
        "command": ["sh", "-c", "cat /var/inputs/n > /var/outputs/o"],
        "data_config": {"enabled": True, "input_path": "/var/inputs", "output_path": "/var/outputs"},
        "ports": [{"container_port": 80}],
        "resources": {"limits": [{"name": "EPHEMERAL_STORAGE", "value": "1Gi"}]},
    },
    metadata={"pod_template_name": "small"},
    extended_resources={"shared_memory": {"size_limit": "1Gi"}},
)
SIDECAR = tasks_pb2.TaskTemplate(
    type="sidecar",
    k8s_pod=json_format.ParseDict({"podSpec": SPEC, "primaryContainerName": "main"}, tasks_pb2.K8sPod()),
    security_context={"run_as": {"k8s_service_account": "trainer"}},
)


@pytest.fixture
def registrar(sqlite_url: str, tmp_path: Path) -> Iterator[Registrar]:
    with (
        door(sqlite_url, tmp_path, task_backend=Backend.POD) as opened,
        flyte.Client(opened.endpoint, tmp_path / "home").stubs() as stubs,
    ):
        registrar = Registrar(stubs)
        registrar.register_project()
        yield registrar


def register(registrar: Registrar, name: str, template: tasks_pb2.TaskTemplate) -> identifier_pb2.Identifier:
    id = registrar.id(identifier_pb2.TASK, name)
    spec = task_pb2.TaskSpec(template=template)
    registrar.stubs.admin.CreateTask(task_pb2.TaskCreateRequest(id=id, spec=spec), timeout=10)
    return id


def test_raw_containers_sidecars_and_pod_templates_are_registered_and_stored_whole(registrar: Registrar) -> None:
    for name, template in (("raw", RAW), ("sidecar", SIDECAR)):
        id = register(registrar, name, template)
        task = registrar.stubs.admin.GetTask(common_pb2.ObjectGetRequest(id=id), timeout=10)
        stored = task.closure.compiled_task.template
        stored.ClearField("id")
        assert stored == template
    target = workflow_pb2.TaskNode(reference_id=registrar.id(identifier_pb2.TASK, "sidecar"))
    target.overrides.pod_template.primary_container_name = "side"
    registrar.workflow("overridden", [workflow_pb2.Node(id="n0", task_node=target)])


@pytest.mark.parametrize("type", ["spark", "container_array", "bigquery"])
def test_what_no_backend_runs_is_refused_by_name(registrar: Registrar, type: str) -> None:
    with pytest.raises(grpc.RpcError, match=type) as caught:
        register(registrar, "other", tasks_pb2.TaskTemplate(type=type))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
