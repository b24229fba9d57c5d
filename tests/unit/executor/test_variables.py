"""The environment of a task process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flyteidl.core import identifier_pb2

from libs.wire.session import Assignment
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workflow.state import EMPTY
from services.executor import variables

TASK = identifier_pb2.Identifier(project="p", domain="d", name="mod.task", version="v1")


def environment(template_env: dict[str, str] | None = None, **given: Any) -> dict[str, str]:
    platform = given.pop("platform", variables.Platform())
    place = variables.Place(
        commands=given.pop("commands", Path("/env/bin")),
        home=Path("/scratch/home"),
        temporary=Path("/scratch/tmp"),
        devices=given.pop("devices", ()),
        traceparent=given.pop("traceparent", ""),
        secrets=given.pop("secrets", {}),
    )
    assignment = Assignment(
        id=AttemptId(1, "n0", 3),
        spec_digest=b"",
        inputs=EMPTY,
        resources=Slots(),
        output_prefix="",
        raw_output_prefix="",
        log_uri="",
        inline_limit=0,
        project="p",
        domain="d",
        name="ex",
        workflow="p:d:wf",
        launch_plan="p:d:lp",
        **given,
    )
    return variables.of_attempt(platform, place, assignment, TASK, template_env or {})


def test_a_task_knows_its_execution_and_itself() -> None:
    found = environment()
    assert {name: value for name, value in found.items() if name.startswith("FLYTE_")} == {
        "FLYTE_INTERNAL_EXECUTION_ID": "ex",
        "FLYTE_INTERNAL_EXECUTION_PROJECT": "p",
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": "d",
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": "p:d:wf",
        "FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN": "p:d:lp",
        "FLYTE_INTERNAL_TASK_PROJECT": "p",
        "FLYTE_INTERNAL_TASK_DOMAIN": "d",
        "FLYTE_INTERNAL_TASK_NAME": "mod.task",
        "FLYTE_INTERNAL_TASK_VERSION": "v1",
        "FLYTE_ATTEMPT_NUMBER": "3",
    }


def test_the_execution_wins_over_the_task_which_wins_over_the_operator() -> None:
    platform = variables.Platform(additions={"A": "operator", "B": "operator", "C": "operator"})
    found = environment({"B": "task", "C": "task"}, envs={"C": "execution"}, platform=platform)
    assert (found["A"], found["B"], found["C"]) == ("operator", "task", "execution")


def test_nobody_may_say_who_the_attempt_is_or_which_gpus_it_has() -> None:
    forged = {
        "FLYTE_INTERNAL_EXECUTION_ID": "other",
        "TMPDIR": "/tmp",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "TRACEPARENT": "x",
    }
    found = environment(
        forged, envs=forged, devices=("2",), platform=variables.Platform(has_gpus=True), traceparent="ours"
    )
    assert found["FLYTE_INTERNAL_EXECUTION_ID"] == "ex" and found["TMPDIR"] == "/scratch/tmp"
    assert found["CUDA_VISIBLE_DEVICES"] == "2" and found["TRACEPARENT"] == "ours"


def test_an_item_of_a_list_knows_its_place_and_nobody_else_may_say_it() -> None:
    forged = {"FLYTE_K8S_ARRAY_INDEX": "7", "BATCH_JOB_ARRAY_INDEX_OFFSET": "100"}
    found = environment(forged, envs=forged, array_index=0)
    assert found["BATCH_JOB_ARRAY_INDEX_VAR_NAME"] == "FLYTE_K8S_ARRAY_INDEX"
    assert (found["FLYTE_K8S_ARRAY_INDEX"], found["BATCH_JOB_ARRAY_INDEX_OFFSET"]) == ("0", "0")
    assert not [name for name in environment() if "ARRAY_INDEX" in name]


def test_devices_are_hidden_from_whom_they_do_not_belong_to() -> None:
    assert environment(platform=variables.Platform(has_gpus=True))["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in environment()


def test_the_task_environments_commands_come_first_whatever_the_path_is_set_to() -> None:
    assert environment()["PATH"].startswith("/env/bin:/usr/local/sbin:")
    assert environment({"PATH": "/mine"})["PATH"] == "/env/bin:/mine"
    assert environment({"PATH": "/mine"}, commands=None)["PATH"] == "/mine"


def test_a_task_can_call_the_api_back_if_there_is_one() -> None:
    found = environment(platform=variables.Platform(admin_address="admin:81", admin_insecure=False))
    assert (found["FLYTE_PLATFORM_URL"], found["FLYTE_PLATFORM_INSECURE"]) == ("admin:81", "false")


def test_a_task_knows_its_page_in_the_console_if_there_is_one() -> None:
    found = environment(platform=variables.Platform(console_url="https://flyte.example/console/"))
    url = "https://flyte.example/console/projects/p/domains/d/executions/ex/nodeId/n0/nodes"
    assert found["FLYTE_EXECUTION_URL"] == url


def test_a_task_may_choose_for_itself_which_outputs_are_large() -> None:
    platform = variables.Platform(offload_mb=(1, 1000))
    found = environment(platform=platform)
    assert (found["_F_L_MIN_SIZE_MB"], found["_F_L_MAX_SIZE_MB"]) == ("1", "1000")
    assert environment({"_F_L_MIN_SIZE_MB": "5"}, platform=platform)["_F_L_MIN_SIZE_MB"] == "5"
    assert not [name for name in environment() if name.startswith("_F_L_")]


def test_a_secret_wins_over_whoever_else_says_it() -> None:
    found = environment({"_FSEC_G_K": "task"}, envs={"_FSEC_G_K": "execution"}, secrets={"_FSEC_G_K": "secret"})
    assert found["_FSEC_G_K"] == "secret"


def test_what_no_process_can_have_is_left_out() -> None:
    found = environment({"": "x", "A=B": "x", "NUL": "a\0b", "GOOD": "x"})
    assert "GOOD" in found and not {"", "A=B", "NUL"} & set(found)
