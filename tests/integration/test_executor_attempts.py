"""The executor with real task processes, driven by a scripted leader over real gRPC."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import tarfile
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2
from flyteidl.core.security_pb2 import Secret, SecurityContext

from libs.telemetry import traces
from protos import executor_pb2
from services.executor import backlog
from tests.support.executing import executing, shell, template
from tests.support.leader import Assignments, ExecutorSession, Leader, error_of, outputs_of
from tests.support.markers import alive
from tests.support.spans import Kept
from tests.support.waiting import until

USER = execution_pb2.ExecutionError.USER
SYSTEM = execution_pb2.ExecutionError.SYSTEM

# What a task's config says of its process.
PROCESSES = {"cold": {"airscrew/warm": "false"}, "fork": {}, "reuse": {"airscrew/reuse": "true"}}

MODULE = """
import os, signal, sys, time
from flytekit import Deck, task, current_context
from flytekit.exceptions.user import FlyteRecoverableException

@task
def add(a: int, b: int) -> int:
    print("adding", a, b)
    return a + b

@task
def big(size: int) -> str:
    return "x" * size

@task
def breaks(message: str) -> int:
    raise ValueError(message)

@task
def recovers() -> int:
    raise FlyteRecoverableException("try again")

@task
def leaves(code: int) -> int:
    sys.exit(code)

@task(enable_deck=True)
def decked() -> int:
    Deck("hello", "<b>hi</b>")
    return 1

@task
def uses_own_libs() -> str:
    import libs
    return libs.WHOSE
"""


@pytest.fixture
async def session(leader: Leader, executor_settings: dict[str, Any]) -> AsyncIterator[ExecutorSession]:
    async with executing(executor_settings):
        yield await leader.session()


@pytest.fixture
def code(tmp_path: Path) -> str:
    """The user's code as fast registration uploads it."""
    archive = tmp_path / "blob" / "uploads" / "fast.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in {"mine.py": MODULE, "libs/__init__.py": "WHOSE = 'the user'"}.items():
            data = textwrap.dedent(text).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(archive)


def flytekit_task(
    code: str, name: str, output: types_pb2.SimpleType = types_pb2.INTEGER, process: str = "fork"
) -> tasks_pb2.TaskTemplate:
    """What `pyflyte register` makes of a task of MODULE."""
    fast = ("pyflyte-fast-execute", "--additional-distribution", code, "--dest-dir", "/root", "--")
    words = """pyflyte-execute --inputs {{.input}} --output-prefix {{.outputPrefix}}
        --raw-output-data-prefix {{.rawOutputDataPrefix}} --checkpoint-path {{.checkpointOutputPrefix}}
        --prev-checkpoint {{.prevCheckpointPrefix}}
        --resolver flytekit.core.python_auto_container.default_task_resolver --"""
    words = (*fast, *words.split(), "task-module", "mine", "task-name", name)
    task = template(*words, outputs={"o0": output})
    task.config.update(PROCESSES[process])
    return task  # type: ignore[no-any-return]


def number(value: int) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))


def string(value: str) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=value)))


async def run(session: ExecutorSession, assigned: tuple[executor_pb2.Assign, Any]) -> executor_pb2.Report:
    session.assign(assigned)
    return await session.final(assigned[0].id)


@pytest.mark.parametrize("process", PROCESSES)
async def test_flytekit_tasks_run_from_their_upload_to_typed_outputs_and_typed_errors(
    session: ExecutorSession, work: Assignments, code: str, tmp_path: Path, process: str
) -> None:
    def task(name: str, output: types_pb2.SimpleType = types_pb2.INTEGER) -> tasks_pb2.TaskTemplate:
        return flytekit_task(code, name, output, process)

    sum_ = work.of(task("add"), {"a": number(2), "b": number(40)})
    breaks = work.of(task("breaks"), {"message": string("no good")})
    recovers = work.of(task("recovers"))
    leaves = work.of(task("leaves"), {"code": number(3)})
    decked = work.of(task("decked"))
    big = work.of(task("big", types_pb2.STRING), {"size": number(20_000)})
    own = work.of(task("uses_own_libs", types_pb2.STRING))
    session.assign(sum_, breaks, recovers, leaves, decked, big, own)

    report = await session.final(sum_[0].id)
    assert outputs_of(report)["o0"].scalar.primitive.integer == 42
    assert session.phases(sum_[0].id)[-1] == "SUCCEEDED" and report.seq == 3
    said = [each.seq for each in session.of(sum_[0].id)]
    assert said == sorted(set(said)), "what goes on is told when it has lasted, and never after what comes later"
    assert report.started_us > 0 and report.at_us > report.started_us
    assert "adding 2 40" in Path(sum_[0].log_uri).read_text()

    report = await session.final(breaks[0].id)
    error = error_of(report)
    assert (error.code, error.kind, report.recoverable) == ("USER:RuntimeError", USER, False)
    assert "no good" in error.message and "no good" in report.reason
    assert error.error_uri == f"{breaks[0].output_prefix}/error.pb"

    report = await session.final(recovers[0].id)
    assert (error_of(report).code, report.recoverable) == ("USER:Recoverable", True)

    report = await session.final(leaves[0].id)
    assert (error_of(report).kind, report.recoverable) == (USER, True)
    assert "exited with code 3" in error_of(report).message

    report = await session.final(decked[0].id)
    assert report.deck_uri == f"{decked[0].output_prefix}/deck.html"
    assert "<b>hi</b>" in Path(report.deck_uri).read_text()

    report = await session.final(big[0].id)
    assert report.outputs.uri == f"{big[0].output_prefix}/outputs.pb"
    assert report.outputs.size == Path(report.outputs.uri).stat().st_size > 20_000

    assert outputs_of(await session.final(own[0].id))["o0"].scalar.primitive.string_value == "the user"
    await nothing_left(tmp_path)


async def test_a_secret_of_the_execution_comes_from_the_executors_variables_and_is_never_logged(
    leader: Leader,
    executor_settings: dict[str, Any],
    work: Assignments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AIRSCREW_EXECUTOR_SECRET_MY_GROUP_TOKEN", "hush")
    asked = Secret(group="my-group", key="token", mount_requirement=Secret.FILE, env_var="TOKEN_FILE")
    context = SecurityContext(secrets=[asked]).SerializeToString()
    script = 'cat "$TOKEN_FILE"; stat -c " %a %n" "$TOKEN_FILE"; env | grep -c hush'
    async with executing(executor_settings):
        session = await leader.session()
        assigned = work.of(shell(script), security_context=context)
        await run(session, assigned)
        value, mode, place, in_environment = Path(assigned[0].log_uri).read_text().split()
        assert (value, mode, in_environment) == ("hush", "600", "0")
        assert place.endswith("my-group/token")
        await nothing_left(tmp_path)
    assert "hush" not in caplog.text


async def test_a_missing_secret_fails_for_good_by_group_and_key(session: ExecutorSession, work: Assignments) -> None:
    task = shell("true")
    task.security_context.secrets.add(group="store", key="token")
    report = await run(session, work.of(task))
    error = error_of(report)
    assert (error.kind, report.recoverable) == (USER, False)
    assert "'store'" in error.message and "'token'" in error.message
    assert "RUNNING" not in session.phases(report.id)


async def nothing_left(tmp_path: Path) -> None:
    """Scratch directories go shortly after the report."""
    for _ in range(100):
        if not list((tmp_path / "data" / "scratch").iterdir()):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(list((tmp_path / "data" / "scratch").rglob("*")))


async def test_a_task_gets_a_clean_environment_and_private_directories(
    session: ExecutorSession, work: Assignments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRSCREW_SESSION_TOKEN", "secret")
    monkeypatch.setenv("OUR_OWN", "secret")
    script = "import json, os, sys; print(json.dumps([dict(os.environ), os.getcwd(), sys.path]))"
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    assigned = work.of(
        template("python", "-c", script, env=[{"key": "MINE", "value": "t"}, {"key": "BOTH", "value": "t"}]),
        attempt=2,
        envs={"BOTH": "x", "FLYTE_ATTEMPT_NUMBER": "9"},
        traceparent=traceparent,
    )
    report = await run(session, assigned)
    assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED, error_of(report)

    environment, cwd, path = json.loads(Path(assigned[0].log_uri).read_text())
    scratch = tmp_path / "data" / "scratch"
    assert Path(cwd).is_relative_to(scratch) and Path(environment["HOME"]).is_relative_to(scratch)
    assert Path(environment["TMPDIR"]).parent == Path(cwd).parent
    assert not [name for name in environment if name.startswith("AIRSCREW") or name == "OUR_OWN"]
    assert (environment["MINE"], environment["BOTH"], environment["FLYTE_ATTEMPT_NUMBER"]) == ("t", "x", "2")
    assert environment["FLYTE_INTERNAL_EXECUTION_ID"] == "ex1"
    assert environment["FLYTE_INTERNAL_EXECUTION_WORKFLOW"] == "flytesnacks:development:wf"
    assert environment["FLYTE_INTERNAL_TASK_VERSION"] == "v1"
    assert environment["TRACEPARENT"].split("-")[1] == "ab" * 16
    assert environment["TRACEPARENT"] != traceparent, "the parent is the span of the process, not that of the attempt"
    assert not [place for place in path if (Path(place or "/nowhere") / "services" / "executor").is_dir()]


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        ("kill -9 $$", SYSTEM, "Interrupted"),
        ("exit 137", SYSTEM, "Interrupted"),
        ("exit 247", SYSTEM, "Interrupted"),
        ("kill -SEGV $$", USER, "TaskProcessFailed"),
        ("exit 3", USER, "TaskProcessFailed"),
        ("exit 0", SYSTEM, "OutputsNotFound"),
        ("mkdir -p $1; echo nonsense > $1/outputs.pb", SYSTEM, "OutputsBadFormat"),
        ("mkdir -p $1; : > $1/error.pb; : > $1/outputs.pb", SYSTEM, "ErrorFileBadFormat"),
    ],
)
async def test_an_end_without_result_is_blamed_on_whom_flyte_users_expect(
    session: ExecutorSession, work: Assignments, script: str, kind: Any, code: str
) -> None:
    report = await run(session, work.of(shell(script, outputs={"o0": types_pb2.INTEGER})))
    assert (error_of(report).kind, error_of(report).code, report.recoverable) == (kind, code, True)


async def test_the_error_of_a_failed_process_quotes_the_end_of_its_log(
    session: ExecutorSession, work: Assignments
) -> None:
    report = await run(session, work.of(shell("echo the last words >&2; exit 1")))
    assert "the last words" in error_of(report).message


async def test_a_plan_of_a_dynamic_task_is_reported_as_dynamic(session: ExecutorSession, work: Assignments) -> None:
    assigned = work.of(shell("mkdir -p $1; echo plan > $1/futures.pb", outputs={"o0": types_pb2.INTEGER}))
    report = await run(session, assigned)
    assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED and report.dynamic
    assert report.outputs == executor_pb2.Data(uri=f"{assigned[0].output_prefix}/futures.pb", size=5)


async def test_outputs_above_the_limit_fail_for_good(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["output_limit_bytes"] = 1000
    async with executing(executor_settings):
        session = await leader.session()
        script = "mkdir -p $1; head -c 2000 /dev/zero > $1/outputs.pb"
        assigned = work.of(shell(script, outputs={"o0": types_pb2.INTEGER}), inline_limit=100)
        report = await run(session, assigned)
        assert (error_of(report).code, report.recoverable) == ("OutputSizeExceeded", False)


async def test_a_task_that_takes_too_long_is_stopped_with_everything_it_started(
    session: ExecutorSession, work: Assignments, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; sleep 600"
    report = await run(session, work.of(shell(script), time_allowed_us=300_000))
    error = error_of(report)
    assert (error.code, error.kind, report.recoverable) == ("TimeoutExpired", USER, True)
    assert not alive(int(pids.read_text()))


async def test_a_stopped_attempt_ends_with_its_grandchildren_even_those_that_left_the_group(
    session: ExecutorSession, work: Assignments, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    # A double fork with a new session, which also ignores SIGTERM: the worst-mannered descendant there is.
    script = f"""
    (setsid sh -c 'trap "" TERM; echo $$ >> {pids}; while true; do sleep 1; done' &)
    sleep 600 & echo $! >> {pids}
    echo started >> {pids}; wait
    """
    assigned = work.of(shell(script))
    session.assign(assigned)
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 3)
    session.stop(assigned[0].id, "the user wants it")
    report = await session.final(assigned[0].id)
    assert report.phase == executor_pb2.Report.PHASE_ABORTED
    assert report.reason == "the user wants it"
    assert not [pid for pid in pids.read_text().split() if pid.isdigit() and alive(int(pid))]


async def test_what_a_task_leaves_running_ends_with_it(
    session: ExecutorSession, work: Assignments, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    report = await run(session, work.of(shell(f"setsid sleep 600 & echo $! > {pid}")))
    assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED
    assert not alive(int(pid.read_text()))


async def test_a_task_above_its_memory_limit_is_killed_as_out_of_memory(
    session: ExecutorSession, work: Assignments
) -> None:
    limits = tasks_pb2.Resources(
        limits=[tasks_pb2.Resources.ResourceEntry(name=tasks_pb2.Resources.MEMORY, value="64Mi")]
    )
    hungry = template("python", "-S", "-c", "x = bytearray(200 << 20); import time; time.sleep(60)", resources=limits)
    report = await run(session, work.of(hungry))
    assert (error_of(report).code, error_of(report).kind, report.recoverable) == ("OOMKilled", USER, True)


async def test_inputs_can_be_part_of_the_command_line(session: ExecutorSession, work: Assignments) -> None:
    words = ("echo", "{{.inputs.who}}", "{{ $InputPrefix }}", "{{.taskTemplatePath}}", "{{.prevCheckpointPrefix}}")
    assigned = work.of(template(*words), {"who": string("{{.input}}")})
    await run(session, assigned)
    who, folder, task, checkpoint = Path(assigned[0].log_uri).read_text().split()
    assert (who, task, checkpoint) == ("{{.input}}", f"{folder}/task.pb", '""')


async def test_inputs_and_template_are_files_of_the_attempt_alone(session: ExecutorSession, work: Assignments) -> None:
    script = 'mkdir -p "$3"; cp "$1" "$2" "$3"'
    words = ("{{.input}}", "{{.taskTemplatePath}}", "{{.outputPrefix}}")
    assigned = work.of(template("/bin/sh", "-c", script, "sh", *words), {"who": string("me")})
    report = await run(session, assigned)
    assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED, error_of(report)
    left = Path(assigned[0].output_prefix)
    assert (left / "inputs.pb").read_bytes() == assigned[0].inputs.inline
    assert tasks_pb2.TaskTemplate.FromString((left / "task.pb").read_bytes()) == assigned[1]


async def test_large_inputs_are_read_where_they_lie(
    session: ExecutorSession, work: Assignments, tmp_path: Path
) -> None:
    uri = tmp_path / "blob" / "somewhere" / "large.pb"
    uri.parent.mkdir(parents=True)
    data = literals_pb2.LiteralMap(literals={"who": string("me")}).SerializeToString()
    uri.write_bytes(data)
    words = ("echo", "{{.input}}", "{{.inputPrefix}}", "{{.inputs.who}}")
    assigned = work.of(template(*words))
    assigned[0].inputs.CopyFrom(executor_pb2.Data(uri=str(uri), size=len(data)))
    await run(session, assigned)
    assert Path(assigned[0].log_uri).read_text().split() == [str(uri), str(uri.parent), "me"]


@pytest.mark.parametrize(
    ("bad", "code", "kind", "recoverable"),
    [
        (template("echo", "{{.inputs.missing}}"), "FailedToBuildResource", USER, False),
        (template("no-such-command"), "FailedToBuildResource", USER, False),
        (template(), "FailedToBuildResource", USER, False),
        (tasks_pb2.TaskTemplate(type="spark"), "FailedToBuildResource", USER, False),
    ],
)
async def test_a_task_that_cannot_be_built_fails_for_good_and_says_why(
    session: ExecutorSession, work: Assignments, bad: Any, code: str, kind: Any, recoverable: bool
) -> None:
    report = await run(session, work.of(bad))
    assert (error_of(report).code, error_of(report).kind, report.recoverable) == (code, kind, recoverable)
    assert "RUNNING" not in session.phases(report.id)


IN_A_POD = workflow_pb2.TaskNodeOverrides(pod_template={"primary_container_name": "main"}).SerializeToString()


@pytest.mark.parametrize(
    ("pod", "assigned", "named"),
    [
        (template("sh", data_config={"enabled": True}), {}, "container.data_config"),
        (tasks_pb2.TaskTemplate(type="sidecar", k8s_pod={"primary_container_name": "main"}), {}, "type: 'sidecar'"),
        (shell("true"), {"overrides": IN_A_POD}, "pod_template"),
        (shell("true"), {"as_pod": True}, "the command '/bin/sh' is none of the SDK's"),
    ],
)
async def test_a_task_that_wants_a_pod_is_not_run_as_a_process_and_says_which_setting_differs(
    session: ExecutorSession, work: Assignments, pod: Any, assigned: dict[str, Any], named: str
) -> None:
    report = await run(session, work.of(pod, **assigned))
    error = error_of(report)
    assert (error.code, error.kind, report.recoverable) == ("FailedToBuildResource", USER, False)
    assert named in error.message
    assert "AIRSCREW_TASK_BACKEND=pod" in error.message
    assert session.phases(report.id) == ["FAILED"], "nothing was begun"


async def test_an_environment_without_flytekit_is_the_operators_fault(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, code: str, tmp_path: Path
) -> None:
    (tmp_path / "empty" / "bin").mkdir(parents=True)
    executor_settings["task_environments"] = {"special": str(tmp_path / "empty"), "*": "/nonexistent"}
    async with executing(executor_settings):
        session = await leader.session()
        report = await run(session, work.of(flytekit_task(code, "add"), container_image="special"))
        assert (error_of(report).kind, report.recoverable) == (SYSTEM, True)
        assert "pyflyte-fast-execute" in error_of(report).message and "special" in error_of(report).message


async def test_a_log_is_cut_at_its_limit_but_keeps_its_end(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["log_limit_bytes"] = 1000
    async with executing(executor_settings):
        session = await leader.session()
        assigned = work.of(shell("seq 1 100000"))
        await run(session, assigned)
        log = Path(assigned[0].log_uri).read_text()
        assert log.startswith("1\n2\n") and log.endswith("99999\n100000\n") and "bytes are missing here" in log
        assert len(log) < 20_000


async def test_gpus_are_given_to_one_attempt_each_and_never_to_two(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 60.0)
    executor_settings["gpus"] = ("0", "1", "2")
    # The command ends at once, but what it started holds the device until it is killed.
    script = 'echo "$CUDA_VISIBLE_DEVICES"; setsid sleep 600 & sleep 0.1'
    async with executing(executor_settings):
        session = await leader.session()
        two = [work.of(shell(script), resources=executor_pb2.Resources(gpus=1)) for _ in range(2)]
        none = work.of(shell(script))
        many = work.of(shell(script), resources=executor_pb2.Resources(gpus=2))
        too_many = work.of(shell(script), resources=executor_pb2.Resources(gpus=4))
        session.assign(*two, none, many, too_many)
        assert (await session.final(too_many[0].id)).phase == executor_pb2.Report.PHASE_REJECTED
        logs = []
        for assign, _ in (*two, none):
            assert (await session.final(assign.id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
            logs.append(Path(assign.log_uri).read_text().strip())
        assert logs == ["0", "1", ""]
        assert (await session.final(many[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        of_many = Path(many[0].log_uri).read_text().strip().split(",")
        assert of_many[0] == "2" and of_many[1] in ("0", "1"), "the one that was free, and the first that became free"
        again = work.of(shell(script), resources=executor_pb2.Resources(gpus=3))
        await run(session, again)
        assert sorted(Path(again[0].log_uri).read_text().strip().split(",")) == ["0", "1", "2"]


async def test_the_command_may_not_write_through_a_link_in_place_of_its_log(
    session: ExecutorSession, work: Assignments, tmp_path: Path
) -> None:
    assigned = work.of(shell("echo hello"))
    log = Path(assigned[0].log_uri)
    log.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    os.symlink(tmp_path / "precious", log)
    await run(session, assigned)
    assert (tmp_path / "precious").read_text() == "precious"


async def test_the_phases_are_spans_below_the_attempt_and_the_task_continues_the_trace(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    kept = Kept()
    attempt = traces.TraceContext(0xAB, 0xCD, sampled=True)
    async with executing(executor_settings, tracing=traces.Tracing(kept)):
        session = await leader.session()
        assigned = work.of(shell('echo "$TRACEPARENT"'), traceparent=attempt.traceparent(), interruptible=True)
        await run(session, assigned)
    spans = kept.by_name()
    assert set(spans) == {"prepare", "process", "finish"}
    assert {span.parent_span_id for span in spans.values()} == {attempt.span_id}
    assert {span.context.trace_id for span in spans.values()} == {attempt.trace_id}
    process = spans["process"]
    assert Path(assigned[0].log_uri).read_text().strip() == process.context.traceparent()
    assert process.start_us < process.end_us <= spans["finish"].start_us
    assert process.attributes["flyte.execution.id"] == "flytesnacks:development:ex1"
    assert process.attributes["flyte.interruptible"] is True
