"""What flytekit's language needs of a task process: templates as flytekit makes them, run by its real commands."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import tarfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import dynamic_job_pb2, execution_pb2, literals_pb2, tasks_pb2
from flyteidl.core.security_pb2 import Secret
from flytekit import map_task
from flytekit.configuration import FastSerializationSettings, Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable

from protos import executor_pb2
from tests.support.executing import executing, shell
from tests.support.flytetypes import value
from tests.support.leader import Assignments, ExecutorSession, Leader, error_of, outputs_of
from tests.support.markers import alive

USER = execution_pb2.ExecutionError.USER

MODULE = """
import asyncio, os, subprocess
from flytekit import current_context, dynamic, eager, task

@task
def square(x: int, by: int) -> int:
    return x * x * by

@task
def tells(group: str, key: str) -> str:
    return current_context().secrets.get(group, key)

@task
def grows(size: int) -> str:
    return "x" * size

@task
def measures(text: str) -> int:
    return len(text)

@dynamic
def squares(count: int) -> list[int]:
    return [square(x=x, by=1) for x in range(count)]

@eager
async def waits(marker: str) -> int:
    child = subprocess.Popen(["sleep", "600"])
    with open(marker, "w") as file:
        print(os.getpid(), child.pid, file=file, flush=True)
    await asyncio.sleep(600)
    return 1

@eager
async def says() -> str:
    return os.environ["FLYTE_PLATFORM_URL"]
"""


@pytest.fixture
async def session(leader: Leader, executor_settings: dict[str, Any]) -> AsyncIterator[ExecutorSession]:
    executor_settings["admin_address"] = "localhost:1"
    async with executing(executor_settings):
        yield await leader.session()


class Code:
    """MODULE, imported here, and uploaded as fast registration does it."""

    def __init__(self, module: Any, archive: Path) -> None:
        self.module = module
        self._settings = SerializationSettings(
            image_config=ImageConfig(Image("default", "localhost/any", "1")),
            project="flytesnacks",
            domain="development",
            version="v1",
            fast_serialization_settings=FastSerializationSettings(True, "/root", str(archive)),
        )

    def template(self, entity: Any) -> tasks_pb2.TaskTemplate:
        """What `pyflyte register` would send of a task."""
        if isinstance(entity, str):
            entity = getattr(self.module, entity)
        return get_serializable(OrderedDict(), self._settings, entity).to_flyte_idl().template


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Code]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "spoken.py").write_text(MODULE)
    archive = tmp_path / "blob" / "uploads" / "fast.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "code" / "spoken.py", "spoken.py")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield Code(importlib.import_module("spoken"), archive)
    del sys.modules["spoken"]


async def test_each_item_of_a_map_task_finds_the_whole_list_and_gives_the_value_of_its_own(
    session: ExecutorSession, work: Assignments, code: Code, tmp_path: Path
) -> None:
    mapped = code.template(map_task(functools.partial(code.module.square, by=10)))
    numbers = literals_pb2.LiteralCollection(literals=[value(number) for number in (3, 4, 5)])
    inputs = {"x": literals_pb2.Literal(collection=numbers), "by": value(10)}
    items = [work.of(mapped, inputs, array_index=index) for index in (0, 2)]
    session.assign(*items)
    outputs = [outputs_of(await session.final(assign.id)) for assign, _ in items]
    assert [found["o0"].scalar.primitive.integer for found in outputs] == [90, 250]
    assert not list((tmp_path / "blob").rglob("inputs.pb")), "items on many machines do not write one blob"


async def test_the_plan_of_a_dynamic_task_is_reported_by_its_place(
    session: ExecutorSession, work: Assignments, code: Code
) -> None:
    assigned = work.of(code.template("squares"), {"count": value(3)})
    session.assign(assigned)
    report = await session.final(assigned[0].id)
    assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED and report.dynamic, error_of(report)
    plan = Path(report.outputs.uri)
    assert plan == Path(assigned[0].output_prefix) / "futures.pb" and report.outputs.size == plan.stat().st_size
    job = dynamic_job_pb2.DynamicJobSpec.FromString(plan.read_bytes())
    assert [node.id for node in job.nodes] == ["dn0", "dn1", "dn2"]
    assert {task.id.version for task in job.tasks} == {"v1"}, "generated tasks have the version of their parent"
    assert "pyflyte-fast-execute" in job.tasks[0].container.args, "and find their code where it was found"


async def test_a_large_output_goes_to_a_file_of_its_own_and_the_next_task_gets_its_value(
    session: ExecutorSession, work: Assignments, code: Code
) -> None:
    size = 3 << 20
    grown = work.of(code.template("grows"), {"size": value(size)})
    session.assign(grown)
    literal = outputs_of(await session.final(grown[0].id))["o0"]
    assert literal.WhichOneof("value") == "offloaded_metadata" and literal.hash
    uri = Path(literal.offloaded_metadata.uri)
    assert uri.is_relative_to(grown[0].output_prefix) and literal.offloaded_metadata.size_bytes >= size
    measured = work.of(code.template("measures"), {"text": literal})
    session.assign(measured)
    outputs = outputs_of(await session.final(measured[0].id))
    assert outputs["o0"].scalar.primitive.integer == size


async def test_flytekit_finds_a_secret_as_variable_and_as_file(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, code: Code, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets" / "Store"
    secrets.mkdir(parents=True)
    (secrets / "token").write_text("of the store\n")
    executor_settings["secrets_dir"] = secrets.parent
    inputs = {"group": value("Store"), "key": value("token")}
    async with executing(executor_settings):
        session = await leader.session()
        assigned = []
        for mount in (Secret.ENV_VAR, Secret.FILE, Secret.ANY):
            task = code.template("tells")
            task.security_context.secrets.add(group="Store", key="token", mount_requirement=mount)
            assigned.append(work.of(task, inputs))
        unasked = work.of(code.template("tells"), inputs)
        session.assign(*assigned, unasked)
        for assign, _ in assigned:
            outputs = outputs_of(await session.final(assign.id))
            assert outputs["o0"].scalar.primitive.string_value == "of the store"
        assert "Unable to find secret" in error_of(await session.final(unasked[0].id)).message


async def test_an_eager_task_knows_whom_to_call(session: ExecutorSession, work: Assignments, code: Code) -> None:
    template = code.template("says")
    assert template.metadata.is_eager and "_F_SS_C" in {pair.key for pair in template.container.env}
    assigned = work.of(template)
    session.assign(assigned)
    outputs = outputs_of(await session.final(assigned[0].id))
    assert outputs["o0"].scalar.primitive.string_value == "localhost:1"


async def test_a_stopped_eager_task_ends_with_its_processes_within_the_grace(
    session: ExecutorSession, work: Assignments, code: Code, tmp_path: Path
) -> None:
    """flytekit's own handler of SIGTERM fails in such a task: it would go on for ever."""
    marker = tmp_path / "pids"
    assigned = work.of(code.template("waits"), {"marker": value(str(marker))})
    session.assign(assigned)
    await session.running(assigned[0].id)
    async with asyncio.timeout(60):
        while not (marker.exists() and marker.read_text().endswith("\n")):
            await asyncio.sleep(0.05)
    pids = [int(pid) for pid in marker.read_text().split()]
    assert all(map(alive, pids))
    session.stop(assigned[0].id, "the user wants it")
    report = await session.final(assigned[0].id)
    assert report.phase == executor_pb2.Report.PHASE_ABORTED
    assert not any(map(alive, pids))


@pytest.mark.parametrize("size", [131_072, 200_000])
async def test_a_command_line_that_no_process_can_have_fails_for_good_and_says_which_word(
    session: ExecutorSession, work: Assignments, size: int
) -> None:
    task = shell("true")
    task.container.args.append("x" * size)
    assigned = work.of(task)
    session.assign(assigned)
    report = await session.final(assigned[0].id)
    error = error_of(report)
    assert (error.code, error.kind, report.recoverable) == ("FailedToBuildResource", USER, False)
    assert f"word, number {len(task.container.args) - 1}, has {size} bytes" in error.message
    assert "xxx" not in error.message


async def test_a_command_line_just_as_long_as_it_may_be_runs(session: ExecutorSession, work: Assignments) -> None:
    task = shell("true")
    task.container.args.append("x" * 131_071)
    assigned = work.of(task)
    session.assign(assigned)
    assert (await session.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
