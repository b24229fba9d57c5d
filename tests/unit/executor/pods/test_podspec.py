"""A pod's specification, layer upon layer."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core import tasks_pb2
from google.protobuf import json_format, struct_pb2

from libs.workflow import errors
from services.executor.pods import podspec


def k8s_pod(spec: Any, primary: str = "") -> tasks_pb2.K8sPod:
    return tasks_pb2.K8sPod(pod_spec=json_format.ParseDict(spec, struct_pb2.Struct()), primary_container_name=primary)


def test_things_with_a_name_are_merged_by_it_and_what_is_above_wins() -> None:
    below = {
        "containers": [{"name": "a", "image": "1", "env": [{"name": "x", "value": "1"}]}],
        "tolerations": [{"key": "t"}],
    }
    above = {
        "containers": [{"name": "b"}, {"name": "a", "image": "2", "env": [{"name": "y", "value": "2"}], "args": ["z"]}],
        "tolerations": [{"key": "u"}],
    }
    assert podspec.merge(below, above) == {
        "containers": [
            {
                "name": "a",
                "image": "2",
                "env": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}],
                "args": ["z"],
            },
            {"name": "b"},
        ],
        "tolerations": [{"key": "t"}, {"key": "u"}],
    }
    assert below["containers"][0]["image"] == "1", "neither layer is changed"
    assert podspec.merge({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}


def test_a_pods_numbers_are_whole_again() -> None:
    """A Struct has floating-point numbers only; Kubernetes refuses `8080.0`."""
    template = tasks_pb2.TaskTemplate(
        k8s_pod=k8s_pod({"containers": [{"name": "c", "ports": [{"containerPort": 8080}]}], "x": 0.5}, "c")
    )
    spec, primary = podspec.own(template)
    assert primary == "c" and spec["containers"][0]["ports"] == [{"containerPort": 8080}] and spec["x"] == 0.5
    assert isinstance(spec["containers"][0]["ports"][0]["containerPort"], int)


def test_the_container_that_is_the_task_is_named_by_the_pod_or_by_the_tasks_config() -> None:
    template = tasks_pb2.TaskTemplate(
        k8s_pod=k8s_pod({"containers": [{"name": "c"}]}), config={"primary_container_name": "c"}
    )
    assert podspec.own(template)[1] == "c"
    template.config["primary_container_name"] = "other"
    with pytest.raises(errors.InvalidArgument, match=r"k8s_pod\.pod_spec.*'other'"):
        podspec.own(template)


def test_a_pod_template_is_a_pattern_for_all_containers_and_for_the_tasks() -> None:
    base = {
        "containers": [
            {"name": "default", "imagePullPolicy": "Always", "workingDir": "/d"},
            {"name": "primary", "workingDir": "/p"},
            {"name": "proxy", "image": "proxy:1"},
        ],
        "priorityClassName": "low",
    }
    spec = podspec.on_template(base, {"containers": [{"name": "task", "image": "i"}, {"name": "side"}]}, "task")
    assert spec == {
        "priorityClassName": "low",
        "containers": [
            {"name": "task", "image": "i", "imagePullPolicy": "Always", "workingDir": "/p"},
            {"name": "side", "imagePullPolicy": "Always", "workingDir": "/d"},
            {"name": "proxy", "image": "proxy:1"},
        ],
    }


@pytest.mark.parametrize(
    ("image", "policy", "left"),
    [
        ("anything", "Always", None),
        ("registry:5000/anything:latest", "Always", None),
        ("anything:1", "IfNotPresent", None),
        (f"anything@sha256:{'0' * 64}", "IfNotPresent", None),
        ("anything:1", "Always", "Always"),
        ("anything", "Never", "Never"),
    ],
)
def test_what_the_api_server_has_put_into_a_pod_template_is_nothing_that_anybody_wants(
    image: str, policy: str, left: str | None
) -> None:
    base = {
        "terminationGracePeriodSeconds": 30,
        "containers": [
            {"name": "default", "image": image, "imagePullPolicy": policy, "terminationMessagePolicy": "File"}
        ],
    }
    spec = podspec.on_template(base, {"containers": [{"name": "task", "image": "i:latest"}]}, "task")
    assert "terminationGracePeriodSeconds" not in spec
    (container,) = spec["containers"]
    assert container == {"name": "task", "image": "i:latest"} | ({"imagePullPolicy": left} if left else {})


def test_a_nodes_override_speaks_of_the_tasks_container_by_its_own_name_for_it() -> None:
    over = k8s_pod({"containers": [{"name": "mine", "image": "2"}], "runtimeClassName": "gvisor"}, "mine")
    spec = podspec.with_override({"containers": [{"name": "task", "image": "1"}]}, "task", over)
    assert spec == {"containers": [{"name": "task", "image": "2"}], "runtimeClassName": "gvisor"}
