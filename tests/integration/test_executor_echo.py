"""Echo tasks, which the executor answers itself: the session sees what it sees of any attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2

from protos import executor_pb2
from tests.support.executing import executing
from tests.support.flytetypes import INTEGER, STRING, value, variables
from tests.support.leader import Assignments, Leader, error_of, outputs_of

ECHO = tasks_pb2.TaskTemplate(type="echo", interface={"inputs": variables(x=INTEGER), "outputs": variables(o0=INTEGER)})
TEXT = tasks_pb2.TaskTemplate(type="echo", interface={"inputs": variables(x=STRING), "outputs": variables(o0=STRING)})


class NoProcesses:
    async def start(self, _: Any) -> NoReturn:
        raise AssertionError("an echo task needs no process")


async def test_many_wait_at_once_and_answer_with_their_inputs(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, tmp_path: Path
) -> None:
    count = 500
    executor_settings["echo_seconds"] = 0.3  # one after the other, this would be minutes
    nothing = executor_pb2.Resources()
    assigned = [work.of(ECHO, {"x": value(number)}, resources=nothing) for number in range(count)]
    async with executing(executor_settings, processes=NoProcesses()):
        session = await leader.session()
        session.assign(*assigned)
        await session.ended(count)
        reports = [await session.final(assign.id) for assign, _ in assigned]
        numbers = [outputs_of(report)["o0"].scalar.primitive.integer for report in reports]
        assert numbers == list(range(count))
        assert all(report.started_us and report.at_us >= report.started_us + 300_000 for report in reports)
        assert session.phases(assigned[0][0].id) == ["RUNNING", "SUCCEEDED"]
        assert not list((tmp_path / "data" / "scratch").iterdir())
    assert not (tmp_path / "blob").exists()


async def test_large_values_are_reported_by_the_place_where_they_lie(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, tmp_path: Path
) -> None:
    inputs = literals_pb2.LiteralMap(literals={"x": value("y" * 1000)})
    uri = tmp_path / "blob" / "inputs.pb"
    uri.parent.mkdir()
    uri.write_bytes(inputs.SerializeToString())
    assigned = work.of(TEXT, inline_limit=100)
    assigned[0].inputs.CopyFrom(executor_pb2.Data(uri=str(uri), size=uri.stat().st_size))
    async with executing(executor_settings, processes=NoProcesses()):
        session = await leader.session()
        session.assign(assigned)
        report = await session.final(assigned[0].id)
    assert report.outputs.uri == f"{assigned[0].output_prefix}/outputs.pb"
    content = Path(report.outputs.uri).read_bytes()
    assert len(content) == report.outputs.size
    assert literals_pb2.LiteralMap.FromString(content).literals["o0"] == inputs.literals["x"]


async def test_one_that_waits_can_be_stopped_and_runs_out_of_time(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["echo_seconds"] = 600.0
    stopped = work.of(ECHO, {"x": value(1)})
    late = work.of(ECHO, {"x": value(2)}, time_allowed_us=100_000)
    async with executing(executor_settings, processes=NoProcesses()):
        session = await leader.session()
        session.assign(stopped, late)
        await session.running(stopped[0].id)
        session.stop(stopped[0].id, "enough")
        report = await session.final(stopped[0].id)
        assert (report.phase, report.reason) == (executor_pb2.Report.PHASE_ABORTED, "enough")
        assert error_of(await session.final(late[0].id)).code == "TimeoutExpired"


async def test_its_end_is_spooled_until_it_is_acknowledged(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["flush_seconds"] = 0.1
    executor_settings["echo_seconds"] = 0.01
    assigned = work.of(ECHO, {"x": value(1)})
    async with executing(executor_settings, processes=NoProcesses()):
        session = await leader.session()
        session.acknowledges = False
        session.assign(assigned)
        report = await session.final(assigned[0].id)
    async with executing(executor_settings, processes=NoProcesses()):
        assert list((await leader.session()).hello.snapshot) == [report]


async def test_one_that_takes_no_time_has_one_report_which_is_told_again_until_it_is_acknowledged(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["flush_seconds"] = 0.1
    assigned = work.of(ECHO, {"x": value(1)})
    async with executing(executor_settings, processes=NoProcesses()):
        session = await leader.session()
        session.acknowledges = False
        session.assign(assigned)
        report = await session.final(assigned[0].id)
        assert outputs_of(report)["o0"] == value(1)
        assert (report.seq, report.started_us) == (1, report.at_us)
        assert session.phases(assigned[0].id) == ["SUCCEEDED"]
        session.assign(assigned)
        await session.until(lambda: len(session.reports) == 2, "told again")
        assert session.reports[1] == report
        session.close()
        again = await leader.session()
        assert list(again.hello.snapshot) == [report]
        again.acknowledge(report)
    async with executing(executor_settings, processes=NoProcesses()):
        assert not (await leader.session()).hello.snapshot


async def test_one_that_cannot_be_answered_fails_for_good(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    assigned = work.of(tasks_pb2.TaskTemplate(type="echo", interface={"inputs": variables(x=INTEGER)}))
    async with executing(executor_settings, processes=NoProcesses()):
        session = await leader.session()
        session.assign(assigned)
        report = await session.final(assigned[0].id)
    error = error_of(report)
    assert (error.kind, report.recoverable) == (execution_pb2.ExecutionError.USER, False)
    assert "0 for 1" in error.message
