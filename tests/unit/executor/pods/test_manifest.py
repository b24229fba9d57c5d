"""From a task and its assignment to a pod."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from flyteidl.core import identifier_pb2, tasks_pb2, workflow_pb2
from flyteidl.core.security_pb2 import Identity, Secret, SecurityContext
from google.protobuf import json_format, struct_pb2

from libs.wire.session import Assignment
from libs.workflow import errors
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import Data
from services.executor.pods import manifest, record
from services.executor.variables import Platform
from tests.support.pods import env_of

ASSIGNMENT = Assignment(
    id=AttemptId(7, "n0-0-dn0", 2),
    spec_digest=b"",
    inputs=Data.at("s3://b/in", 1),
    resources=Slots(),
    output_prefix="s3://b/out/2",
    raw_output_prefix="s3://b/raw",
    log_uri="s3://b/log",
    inline_limit=1,
    project="p",
    domain="d",
    name="f0123",
    workflow="p:d:my.workflows.wf",
    container_image="img:2",
)
PLATFORM = Platform(admin_address="admin:81", additions={"A": "operator", "B": "operator"})
SHAPE = manifest.Shape("executor-0", PLATFORM)


def task(**fields: Any) -> tasks_pb2.TaskTemplate:
    container = tasks_pb2.Container(image="img:1", args=["run", "{{.input}}"], **fields.pop("container", {}))
    id = identifier_pb2.Identifier(project="p", domain="d", name="my.workflows.t1", version="v")
    return tasks_pb2.TaskTemplate(id=id, type="python-task", container=container, **fields)


def built(
    template: tasks_pb2.TaskTemplate,
    assignment: Assignment = ASSIGNMENT,
    shape: manifest.Shape = SHAPE,
    base: Any = None,
) -> Any:
    def render(words: Sequence[str]) -> Sequence[str]:
        return [word.replace("{{.input}}", "IN") for word in words]

    return manifest.build(
        manifest.draft(assignment, template, base), assignment, template, shape, render, "tp", "s3://b/in"
    )


def primary(pod: Any) -> Any:
    return next(each for each in pod["spec"]["containers"] if each["name"] == record.primary_of(pod))


def resources(**amounts: str) -> tasks_pb2.Resources:
    names = {"cpu": 1, "gpu": 2, "memory": 3, "storage": 5}
    entry = tasks_pb2.Resources.ResourceEntry
    sides: dict[str, list[Any]] = {"requests": [], "limits": []}
    for name, value in amounts.items():
        side, _, what = name.partition("_")
        sides[f"{side}s"].append(entry(name=names[what], value=value))
    return tasks_pb2.Resources(**sides)


def test_a_container_task_is_a_pod_that_runs_its_command_once() -> None:
    pod = built(task())
    assert primary(pod)["image"] == "img:2", "after overrides"
    assert primary(pod)["args"] == ["run", "IN"]
    assert primary(pod)["terminationMessagePolicy"] == "FallbackToLogsOnError"
    spec = pod["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False


def test_whose_pod_it_is_can_be_seen_and_selected() -> None:
    pod = built(task(), shape=replace(SHAPE, owner={"kind": "StatefulSet", "name": "e", "uid": "u"}))
    assert pod["metadata"]["labels"] == {
        "airscrew/executor": "executor-0",
        "app.kubernetes.io/managed-by": "airscrew",
        "execution-id": "f0123",
        "project": "p",
        "domain": "d",
        "workflow-name": "my.workflows.wf",
        "node-id": "n0-0-dn0",
        "task-name": "my.workflows.t1",
        "interruptible": "false",
    }
    assert pod["metadata"]["ownerReferences"] == [{"kind": "StatefulSet", "name": "e", "uid": "u"}]
    assert pod["metadata"]["annotations"]["primary_container_name"] == "primary"


def test_what_a_later_life_needs_is_on_the_pod_and_no_secret_is() -> None:
    secretive = replace(ASSIGNMENT, envs={"TOKEN": "t"}, inputs=Data.of(b"in"), security_context=b"")
    assignment, template = record.read(built(task(), secretive))
    assert assignment == replace(secretive, envs={}, inputs=Data.of(b""))
    assert template.id.name == "my.workflows.t1"


@pytest.mark.parametrize("name", ["f0123", "A" * 80, "ex_1.2", "-x-"])
def test_names_are_labels_of_dns_and_no_two_attempts_share_one(name: str) -> None:
    one = replace(ASSIGNMENT, name=name)
    names = {
        record.pod_name(each)
        for each in (one, replace(one, id=AttemptId(7, "n0-0-dn0", 3)), replace(one, id=AttemptId(8, "n0-0-dn0", 2)))
    }
    assert len(names) == 3
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", each) for each in names)
    assert record.pod_name(one) in names, "the same attempt always has the same"


def test_who_says_a_variable_last_is_who_may() -> None:
    env = tasks_pb2.Container(env=[{"key": "B", "value": "task"}, {"key": "C", "value": "task"}]).env
    template = task(container={"env": env})
    said = replace(ASSIGNMENT, envs={"C": "execution", "FLYTE_ATTEMPT_NUMBER": "99"}, array_index=4)
    variables = env_of(built(template, said))
    assert (variables["A"], variables["B"], variables["C"]) == ("operator", "task", "execution")
    assert variables["FLYTE_ATTEMPT_NUMBER"] == "2" and variables["FLYTE_K8S_ARRAY_INDEX"] == "4"
    assert variables["TRACEPARENT"] == "tp" and variables["FLYTE_PLATFORM_URL"] == "admin:81"
    assert not {"HOME", "PATH", "TMPDIR"} & set(variables), "those are the image's"


@pytest.mark.parametrize(
    ("asked", "over", "requests", "limits"),
    [
        ({}, {}, {"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}),
        ({"request_cpu": "2"}, {}, {"cpu": "2", "memory": "1Gi"}, {"cpu": "2", "memory": "1Gi"}),
        ({"limit_memory": "4Gi"}, {}, {"cpu": "1", "memory": "4Gi"}, {"cpu": "1", "memory": "4Gi"}),
        ({"request_cpu": "1", "limit_cpu": "2"}, {}, {"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "1Gi"}),
        ({"request_cpu": "3", "limit_cpu": "2"}, {}, {"cpu": "2", "memory": "1Gi"}, {"cpu": "2", "memory": "1Gi"}),
        (
            {"request_cpu": "1", "limit_cpu": "2"},
            {"request_cpu": "4"},
            {"cpu": "4", "memory": "1Gi"},
            {"cpu": "4", "memory": "1Gi"},
        ),
        (
            {"request_gpu": "2", "request_storage": "5Gi"},
            {},
            {"cpu": "1", "ephemeral-storage": "5Gi", "memory": "1Gi", "nvidia.com/gpu": "2"},
            {"cpu": "1", "ephemeral-storage": "5Gi", "memory": "1Gi", "nvidia.com/gpu": "2"},
        ),
        ({"request_gpu": "0"}, {}, {"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}),
    ],
)
def test_resources_are_what_node_or_task_ask_for_and_never_half(
    asked: dict[str, str], over: dict[str, str], requests: dict[str, str], limits: dict[str, str]
) -> None:
    overrides = workflow_pb2.TaskNodeOverrides(resources=resources(**over)).SerializeToString()
    template = task(container={"resources": resources(**asked)})
    pod = built(template, replace(ASSIGNMENT, overrides=overrides))
    assert primary(pod)["resources"] == {"requests": requests, "limits": limits}


def test_what_is_no_quantity_is_named() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"container\.resources\.cpu: 'much'"):
        built(task(container={"resources": resources(request_cpu="much")}))


def test_a_kind_of_gpu_is_a_kind_of_node() -> None:
    wanted = tasks_pb2.ExtendedResources(
        gpu_accelerator=tasks_pb2.GPUAccelerator(device="nvidia-tesla-a100", partition_size="1g.5gb")
    )
    spec = built(task(extended_resources=wanted))["spec"]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [
        {
            "matchExpressions": [
                {"key": "k8s.amazonaws.com/accelerator", "operator": "In", "values": ["nvidia-tesla-a100"]},
                {"key": "k8s.amazonaws.com/gpu-partition-size", "operator": "In", "values": ["1g.5gb"]},
            ]
        }
    ]
    assert [each["value"] for each in spec["tolerations"]] == ["nvidia-tesla-a100", "1g.5gb"]


def test_shared_memory_is_a_volume_in_memory() -> None:
    pod = built(task(extended_resources=tasks_pb2.ExtendedResources(shared_memory={"size_limit": "1Gi"})))
    name = "flyte-shared-memory"
    assert pod["spec"]["volumes"] == [{"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    assert primary(pod)["volumeMounts"] == [{"name": name, "mountPath": "/dev/shm"}]


def test_secrets_come_from_secrets_and_nothing_of_them_is_in_the_pod() -> None:
    secrets = [
        Secret(group="db", key="Password", mount_requirement=Secret.ENV_VAR, env_var="PASSWORD"),
        Secret(group="certs", key="Key.pem", mount_requirement=Secret.FILE),
        Secret(group="certs", key="ca", mount_requirement=Secret.ANY, env_var="CA"),
    ]
    pod = built(task(security_context=SecurityContext(secrets=secrets)))
    env = {each["name"]: each for each in primary(pod)["env"]}
    source = {"secretKeyRef": {"name": "db", "key": "Password"}}
    assert env["_FSEC_DB_PASSWORD"]["valueFrom"] == env["PASSWORD"]["valueFrom"] == source
    assert env["CA"]["value"] == "/etc/flyte/secrets/certs/ca"
    (mount,), (volume,) = primary(pod)["volumeMounts"], pod["spec"]["volumes"]
    assert mount["mountPath"] == "/etc/flyte/secrets/certs" and mount["name"] == volume["name"]
    items = [{"key": "Key.pem", "path": "key.pem"}, {"key": "ca", "path": "ca"}]
    assert volume["secret"] == {"secretName": "certs", "items": items}


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        (Secret(group="Not_A_Name", key="k"), "Not_A_Name"),
        (Secret(group="g", key="../up"), "up"),
        (Secret(group="g", key="k", group_version="v1"), "version"),
        (Secret(group="g"), "key"),
    ],
)
def test_a_secret_that_cannot_be_one_of_kubernetes_is_refused(secret: Secret, what: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=rf"security_context\.secrets.*{what}"):
        built(task(security_context=SecurityContext(secrets=[secret])))


def test_a_service_account_is_the_executions_or_the_tasks_or_the_platforms() -> None:
    def account(of_task: str, of_execution: str, of_platform: str) -> Any:
        template = task(security_context=SecurityContext(run_as=Identity(k8s_service_account=of_task)))
        context = SecurityContext(run_as=Identity(k8s_service_account=of_execution)).SerializeToString()
        shape = replace(SHAPE, service_account=of_platform)
        spec = built(template, replace(ASSIGNMENT, security_context=context), shape)["spec"]
        return spec.get("serviceAccountName"), spec["automountServiceAccountToken"]

    assert account("t", "e", "p") == ("e", True)
    assert account("t", "", "p") == ("t", True)
    assert account("", "", "p") == ("p", True)
    assert account("", "", "") == (None, False)


def test_what_may_be_interrupted_goes_where_that_happens() -> None:
    shape = replace(
        SHAPE,
        node_selector={"pool": "tasks"},
        interruptible_node_selector={"spot": "true"},
        interruptible_tolerations=[{"key": "spot", "operator": "Exists"}],
    )
    assert built(task(), shape=shape)["spec"]["nodeSelector"] == {"pool": "tasks"}
    spec = built(task(), replace(ASSIGNMENT, interruptible=True), shape)["spec"]
    assert spec["nodeSelector"] == {"pool": "tasks", "spot": "true"}
    assert spec["tolerations"] == [{"key": "spot", "operator": "Exists"}]


def test_a_pod_of_the_users_own_keeps_what_it_says() -> None:
    pod_spec = {
        "containers": [
            {"name": "side", "image": "s", "args": ["{{.input}}"]},
            {"name": "main", "image": "m", "resources": {"limits": {"cpu": "3"}}, "env": [{"name": "X", "value": "1"}]},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "serviceAccountName": "mine",
        "restartPolicy": "Always",
        "fromTheFuture": True,
    }
    template = tasks_pb2.TaskTemplate(
        id=task().id,
        k8s_pod=tasks_pb2.K8sPod(
            pod_spec=json_format.ParseDict(pod_spec, struct_pb2.Struct()),
            primary_container_name="main",
            metadata=tasks_pb2.K8sObjectMetadata(labels={"team": "x", "project": "stolen"}, annotations={"note": "y"}),
        ),
    )
    pod = built(template, replace(ASSIGNMENT, container_image=""))
    side, main = pod["spec"]["containers"]
    assert (side["args"], main["image"], main["resources"]["limits"]) == (["IN"], "m", {"cpu": "3", "memory": "1Gi"})
    assert "resources" not in side and env_of(pod, "side")["FLYTE_INTERNAL_EXECUTION_ID"] == "f0123"
    assert env_of(pod, "main")["X"] == "1"
    assert pod["spec"]["volumes"] == pod_spec["volumes"] and pod["spec"]["fromTheFuture"] is True
    assert pod["spec"]["serviceAccountName"] == "mine" and pod["spec"]["automountServiceAccountToken"] is True
    assert pod["spec"]["restartPolicy"] == "Never", "an attempt runs once"
    assert pod["metadata"]["labels"]["team"] == "x" and pod["metadata"]["labels"]["project"] == "p"
    assert pod["metadata"]["annotations"]["note"] == "y"


def test_layers_lie_upon_a_pod_template() -> None:
    base = {
        "metadata": {"labels": {"team": "platform"}},
        "spec": {
            "containers": [{"name": "default", "env": [{"name": "B", "value": "template"}]}],
            "hostNetwork": False,
        },
    }
    over = workflow_pb2.TaskNodeOverrides(
        pod_template=tasks_pb2.K8sPod(pod_spec=json_format.ParseDict({"hostNetwork": True}, struct_pb2.Struct()))
    )
    pod = built(task(), replace(ASSIGNMENT, overrides=over.SerializeToString()), base=base)
    assert pod["metadata"]["labels"]["team"] == "platform"
    assert env_of(pod)["B"] == "template" and pod["spec"]["hostNetwork"] is True


def test_a_task_without_container_is_no_pod() -> None:
    with pytest.raises(errors.InvalidArgument, match="is no pod"):
        manifest.draft(ASSIGNMENT, tasks_pb2.TaskTemplate(type="sql", sql=tasks_pb2.Sql()))
