"""What a pod has beside a task that wants its data as files."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from flyteidl.core import interface_pb2, tasks_pb2

from libs.wire.session import Assignment
from libs.workflow import errors
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import Data
from services.executor.copilot.__main__ import _parser
from services.executor.pods import datafiles
from services.executor.pods.datafiles import Pilot
from tests.support.flytetypes import INTEGER, variables

ASSIGNMENT = Assignment(
    id=AttemptId(7, "n0", 2),
    spec_digest=b"",
    inputs=Data.at("s3://b/in", 1),
    resources=Slots(),
    output_prefix="s3://b/out/2",
    raw_output_prefix="s3://b/raw/2",
    log_uri="s3://b/log",
    inline_limit=1,
)
PILOT = Pilot("executor:1", timeout_seconds=600, env={"B": "2", "A": "1"}, env_from=[{"secretRef": {"name": "blob"}}])
SPEC: dict[str, Any] = {
    "containers": [{"name": "primary", "image": "alpine", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    "initContainers": [{"name": "mine", "image": "alpine"}],
    "volumes": [{"name": "v", "emptyDir": {}}],
}


def task(inputs: bool = True, outputs: bool = True, **config: Any) -> tasks_pb2.TaskTemplate:
    interface = {"inputs": variables(n=INTEGER) if inputs else {}, "outputs": variables(o=INTEGER) if outputs else {}}
    container = {"image": "alpine", "data_config": {"enabled": True, **config}}
    return tasks_pb2.TaskTemplate(type="raw-container", container=container, interface=interface)


def made(template: tasks_pb2.TaskTemplate, pilot: Pilot = PILOT, spec: dict[str, Any] = SPEC) -> dict[str, Any]:
    before = repr(spec)
    spec_with = datafiles.with_files(spec, "primary", template, ASSIGNMENT, "s3://b/in", pilot)
    assert repr(spec) == before, "what was given is not changed"
    return spec_with


def container(spec: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in (*spec["initContainers"], *spec["containers"]) if each["name"] == name]
    return found  # type: ignore[no-any-return]


def options(container: dict[str, Any]) -> Any:
    """What the program makes of the command line."""
    *program, command = container["command"]
    assert program == ["python", "-m", "services.executor.copilot"]
    return _parser().parse_args([command, *container["args"]])


def test_the_uploader_is_a_sidecar_that_starts_first_and_the_downloader_ends_before_all_others_begin() -> None:
    spec = made(task())
    assert [each["name"] for each in spec["initContainers"]] == ["airscrew-upload", "airscrew-download", "mine"]
    upload, download = container(spec, "airscrew-upload"), container(spec, "airscrew-download")
    assert upload["restartPolicy"] == "Always"
    assert "restartPolicy" not in download
    assert upload["startupProbe"]["exec"]["command"] == ["test", "-e", str(options(upload).ready)]
    assert spec["terminationGracePeriodSeconds"] > options(upload).timeout == 600


def test_both_are_told_what_the_program_needs() -> None:
    spec = made(task(format=tasks_pb2.DataLoadingConfig.YAML))
    download = options(container(spec, "airscrew-download"))
    assert (download.inputs, download.output_prefix, download.format) == ("s3://b/in", "s3://b/out/2", "YAML")
    assert (str(download.directory), download.no_data, download.timeout) == ("/var/flyte/inputs", False, 600)
    upload = options(container(spec, "airscrew-upload"))
    assert (upload.output_prefix, upload.raw_prefix) == ("s3://b/out/2", "s3://b/raw/2")
    assert (str(upload.directory), list(upload.interface.outputs.variables)) == ("/var/flyte/outputs", ["o"])
    sent = container(spec, "airscrew-upload")["args"]
    encoded = sent[sent.index("--interface") + 1]
    assert interface_pb2.TypedInterface.FromString(base64.b64decode(encoded)) == task().interface


def test_the_task_and_the_containers_share_directories() -> None:
    spec = made(task(input_path="/in/", output_path="/out"))
    assert container(spec, "primary")["volumeMounts"] == [
        {"name": "v", "mountPath": "/v"},
        {"name": "airscrew-outputs", "mountPath": "/out"},
        {"name": "airscrew-inputs", "mountPath": "/in"},
    ]
    assert container(spec, "airscrew-download")["volumeMounts"] == [{"name": "airscrew-inputs", "mountPath": "/in"}]
    assert container(spec, "airscrew-upload")["volumeMounts"] == [{"name": "airscrew-outputs", "mountPath": "/out"}]
    assert [each["name"] for each in spec["volumes"]] == ["v", "airscrew-outputs", "airscrew-inputs"]


def test_they_have_credentials_limits_and_no_rights() -> None:
    spec = made(task())
    for name in ("airscrew-download", "airscrew-upload"):
        each = container(spec, name)
        assert each["image"] == "executor:1"
        assert each["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
        assert each["envFrom"] == [{"secretRef": {"name": "blob"}}]
        assert each["resources"]["requests"] == each["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert "imagePullPolicy" not in each
    assert "envFrom" not in container(spec, "primary")


def test_what_there_is_not_needs_nobody() -> None:
    only_outputs = made(task(inputs=False))
    assert [each["name"] for each in only_outputs["initContainers"]] == ["airscrew-upload", "mine"]
    only_inputs = made(task(outputs=False))
    assert [each["name"] for each in only_inputs["initContainers"]] == ["airscrew-download", "mine"]
    assert "terminationGracePeriodSeconds" not in only_inputs
    assert made(task(inputs=False, outputs=False)) == SPEC
    bare = {"containers": SPEC["containers"]}
    assert made(task(inputs=False, outputs=False), Pilot(""), bare) == bare


def test_a_task_that_wants_no_files_is_left_alone() -> None:
    template = task()
    template.container.data_config.enabled = False
    assert made(template) == SPEC


def test_data_may_stay_where_it_is_and_outputs_may_be_somebody_elses_affair() -> None:
    strategy = {
        "download_mode": tasks_pb2.IOStrategy.DO_NOT_DOWNLOAD,
        "upload_mode": tasks_pb2.IOStrategy.DO_NOT_UPLOAD,
    }
    spec = made(task(io_strategy=strategy))
    assert [each["name"] for each in spec["initContainers"]] == ["airscrew-download", "mine"]
    assert options(container(spec, "airscrew-download")).no_data
    assert {"name": "airscrew-outputs", "mountPath": "/var/flyte/outputs"} in container(spec, "primary")["volumeMounts"]


def test_a_pod_of_several_containers_says_so_for_itself() -> None:
    pod = {"primary_container_name": "primary", "data_config": {"enabled": True, "input_path": "/in"}}
    template = tasks_pb2.TaskTemplate(k8s_pod=pod, interface={"inputs": variables(n=INTEGER)})
    assert str(options(container(made(template), "airscrew-download")).directory) == "/in"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"input_path": "in"}, "input_path: 'in'"),
        ({"output_path": "/a/../b"}, "output_path"),
        ({"output_path": "/"}, "output_path: '/'"),
        ({"input_path": "/same", "output_path": "/same/"}, "output_path: /same is where the inputs are"),
    ],
)
def test_paths_that_cannot_be_are_refused_by_name(config: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=rf"data_config\.{field}"):
        made(task(**config))


def test_without_an_image_it_is_the_operators_mistake() -> None:
    with pytest.raises(errors.FailedPrecondition, match="COPILOT_IMAGE: is not set"):
        made(task(), Pilot(""))
