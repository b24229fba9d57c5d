"""Commands of task templates."""

from __future__ import annotations

from pathlib import Path

import pytest
from flyteidl.core import tasks_pb2

from libs.workflow import errors
from services.executor import commandline

WRAPPED = ("pyflyte-execute", "--dest-dir", "users")


def test_a_container_runs_its_command_and_its_args() -> None:
    template = tasks_pb2.TaskTemplate(
        container=tasks_pb2.Container(command=["a"], args=["b", "c"], env=[{"key": "K", "value": "V"}])
    )
    assert commandline.of_template(template) == commandline.Command(("a", "b", "c"), {"K": "V"})


@pytest.mark.parametrize(
    ("template", "named"),
    [
        (tasks_pb2.TaskTemplate(type="echo"), "echo"),
        (tasks_pb2.TaskTemplate(container=tasks_pb2.Container(image="i")), "args"),
        (tasks_pb2.TaskTemplate(type="sidecar", k8s_pod=tasks_pb2.K8sPod()), "k8s_pod"),
    ],
)
def test_what_has_no_command_is_refused_by_name(template: tasks_pb2.TaskTemplate, named: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=named):
        commandline.of_template(template)


@pytest.mark.parametrize(
    ("words", "rewritten"),
    [
        (
            ("pyflyte-fast-execute", "--dest-dir", "/root", "--", *WRAPPED),
            ("pyflyte-fast-execute", "--dest-dir", "/private", "--", *WRAPPED),
        ),
        (
            ("/usr/bin/pyflyte-fast-execute", "--dest-dir=.", "--", *WRAPPED),
            ("/usr/bin/pyflyte-fast-execute", "--dest-dir=/private", "--", *WRAPPED),
        ),
        (("pyflyte-fast-execute", "--", *WRAPPED), ("pyflyte-fast-execute", "--", *WRAPPED)),
        (("rsync", "--dest-dir", "/data"), ("rsync", "--dest-dir", "/data")),
    ],
)
def test_only_fast_executes_own_directory_is_made_private(words: tuple[str, ...], rewritten: tuple[str, ...]) -> None:
    assert commandline.with_private_code(words, Path("/private")) == rewritten
