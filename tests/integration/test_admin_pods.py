"""Where tasks are pods, the front door takes the tasks that only pods can run; what no backend runs stays refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
from flyteidl.admin import common_pb2, task_pb2
from flyteidl.core import identifier_pb2, tasks_pb2, types_pb2, workflow_pb2
from flytekit import ContainerTask, Resources, Secret, kwtypes
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable
from google.protobuf import json_format

from libs.wire.session import Assignment
from libs.workflow.backend import Backend
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import Data
from services.executor.pods import manifest
from services.executor.pods.datafiles import Pilot
from services.executor.variables import Platform
from tests.support import flyte
from tests.support.admin import door
from tests.support.flytetypes import INTEGER, variables
from tests.support.smalltasks import Registrar

ASSIGNMENT = Assignment(
    id=AttemptId(7, "n0", 0),
    spec_digest=b"",
    inputs=Data.at("s3://b/in.pb", 1),
    resources=Slots(),
    output_prefix="s3://b/out",
    raw_output_prefix="s3://b/raw",
    log_uri="s3://b/log",
    inline_limit=1,
)
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


def container_task(**more: Any) -> tasks_pb2.TaskTemplate:
    """What flytekit makes of a task that doubles a number in a container which knows nothing of it."""
    task = ContainerTask(
        name="double",
        image="alpine:3",
        inputs=kwtypes(n=int),
        outputs=kwtypes(m=int),
        command=["sh", "-ec", "echo $(($(cat /var/inputs/n) * {{.inputs.n}})) > /var/outputs/m"],
        input_data_dir="/var/inputs",
        output_data_dir="/var/outputs",
        metadata_format=ContainerTask.MetadataFormat.YAML,
        requests=Resources(cpu="2", ephemeral_storage="1Gi"),
        **more,
    )
    settings = SerializationSettings(ImageConfig(Image("default", "image", "tag")), "p", "d", version="v")
    template: tasks_pb2.TaskTemplate = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
    return template


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_a_container_task_of_flytekit_is_registered_and_becomes_a_valid_pod(registrar: Registrar, version: str) -> None:
    template = container_task(secret_requests=[Secret(group="db", key="password")])
    template.ClearField("id")
    id = register(registrar, "double", template)
    answer = registrar.stubs.admin.GetTask(common_pb2.ObjectGetRequest(id=id), timeout=10)
    stored = answer.closure.compiled_task.template
    shape = manifest.Shape("executor-0", Platform(), pilot=Pilot("executor:1"))
    sketch = manifest.draft(ASSIGNMENT, stored)
    pod = manifest.build(sketch, ASSIGNMENT, stored, shape, lambda words: words, "", "s3://b/in.pb")
    kubernetes_validate.validate(pod, version, strict=True)
    upload, download = pod["spec"]["initContainers"]
    assert (upload["restartPolicy"], download["args"][-1]) == ("Always", "YAML")
    (task,) = pod["spec"]["containers"]
    assert [each["mountPath"] for each in task["volumeMounts"]][-2:] == ["/var/outputs", "/var/inputs"]
    assert task["resources"]["requests"] == {"cpu": "2", "ephemeral-storage": "1Gi", "memory": "1Gi"}


@pytest.mark.parametrize("type", ["spark", "container_array", "bigquery"])
def test_what_no_backend_runs_is_refused_by_name(registrar: Registrar, type: str) -> None:
    with pytest.raises(grpc.RpcError, match=type) as caught:
        register(registrar, "other", tasks_pb2.TaskTemplate(type=type))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
