"""The executor and its leaders: who is believed, what is said again, what survives a change of leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.workflow import errors
from protos import executor_pb2, propeller_pb2
from services.executor import backlog
from services.executor.runner import Exit, Launch
from tests.support.executing import executing, shell, template
from tests.support.leader import Assignments, Leader, error_of


@pytest.fixture
async def second(leader: Leader) -> AsyncIterator[Leader]:
    """Another replica."""
    another = await Leader(epoch=2).start()
    yield another
    await another.stop()


def count(path: Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0


async def test_hello_says_who_it_is_and_what_it_has(leader: Leader, executor_settings: dict[str, Any]) -> None:
    executor_settings |= {"cpu_millis": 1500, "memory_bytes": 1 << 30, "gpus": ("0",), "labels": {"zone": "a"}}
    executor_settings["interruptible"] = True
    for _ in range(2):
        async with executing(executor_settings):
            session = await leader.session()
            await session.until(lambda session=session: len(session.heartbeats) >= 2, "two heart-beats")
            assert session.heartbeats[0].disk_free_bytes > 0 and session.heartbeats[0].trouble == ""
    first, again = leader.hellos
    assert first.capacity == executor_pb2.Resources(cpu_millis=1500, memory_bytes=1 << 30, gpus=1)
    assert first.labels == {"zone": "a", "interruptible": "true"} and first.version and not first.snapshot
    assert first.executor == again.executor, "the id outlives the process"
    assert first.incarnation != again.incarnation
    assert (first.highest_epoch, again.highest_epoch) == (0, 1)


async def test_without_the_token_there_is_no_session(
    leader: Leader, executor_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    executor_settings["session_token"] = "wrong"
    async with executing(executor_settings):
        while "no valid session token" not in caplog.text:
            await asyncio.sleep(0.02)
    assert leader.hellos == []


async def test_it_follows_from_a_standby_to_the_leader_and_goes_on_when_the_leader_changes(
    leader: Leader, second: Leader, executor_settings: dict[str, Any], work: Assignments, tmp_path: Path
) -> None:
    executor_settings["propellers"] = (second.address,)  # the first one is known only by what the second one says
    second.refers_to = leader.address
    starts = tmp_path / "starts"
    assigned = work.of(shell(f"echo x >> {starts}; sleep 1.5"))
    finished = work.of(shell("true"))
    async with executing(executor_settings):
        session = await leader.session()
        session.acknowledges = False
        session.assign(assigned, finished)
        await session.running(assigned[0].id)
        await session.final(finished[0].id)

        leader.refers_to, second.refers_to = second.address, None
        session.close()
        taken_over = await second.session()
        assert taken_over.hello.highest_epoch == 1
        phases = {report.id.node: report.phase for report in taken_over.hello.snapshot}
        assert phases == {
            assigned[0].id.node: executor_pb2.Report.PHASE_RUNNING,
            finished[0].id.node: executor_pb2.Report.PHASE_SUCCEEDED,
        }
        taken_over.assign(assigned)  # a leader that is not sure says it again
        assert (await taken_over.final(assigned[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
    assert count(starts) == 1
    assert leader.most_open_sessions == second.most_open_sessions == 1


async def test_a_leader_of_a_lower_epoch_is_left_before_it_can_assign(
    leader: Leader, second: Leader, executor_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    executor_settings["propellers"] = (second.address, leader.address)
    async with executing(executor_settings):
        session = await second.session()
        second.refers_to = ""
        session.close()
        outdated = await leader.session()
        await asyncio.wait_for(outdated.closed.wait(), 5)
        assert "epoch 2 has begun" in caplog.text

    # … and after a restart too: the epoch is on disk.
    leader.hellos.clear()
    async with executing(executor_settings):
        outdated = await leader.session()
        await asyncio.wait_for(outdated.closed.wait(), 5)
        assert leader.hellos[-1].highest_epoch == 2


async def test_an_attempt_that_is_assigned_twice_starts_once(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    assigned = work.of(shell(f"echo x >> {starts}; sleep 0.3"))
    async with executing(executor_settings):
        session = await leader.session()
        session.assign(assigned, assigned)
        session.assign(assigned)
        await session.final(assigned[0].id)
        session.assign(assigned)
        ends = {"SUCCEEDED", "FAILED"}
        await session.until(
            lambda: len([phase for phase in session.phases(assigned[0].id) if phase in ends]) == 2,
            "an answer to the last assignment",
        )
    assert count(starts) == 1


async def test_a_final_report_is_repeated_until_it_is_acknowledged(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["resend_seconds"] = 0.3
    assigned = work.of(shell("true"))
    async with executing(executor_settings):
        session = await leader.session()
        session.acknowledges = False
        session.assign(assigned)
        report = await session.final(assigned[0].id)
        await session.until(lambda: session.of(assigned[0].id).count(report) == 3, "two repetitions")
        session.acknowledge(report)
        await asyncio.sleep(0.1)
        said = len(session.of(assigned[0].id))
        await asyncio.sleep(1)
        assert len(session.of(assigned[0].id)) == said


async def test_what_is_not_acknowledged_is_in_the_next_hello_after_a_restart(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["flush_seconds"] = 0.1
    assigned = work.of(shell("true"))
    async with executing(executor_settings):
        session = await leader.session()
        session.acknowledges = False
        session.assign(assigned)
        report = await session.final(assigned[0].id)
    async with executing(executor_settings):
        session = await leader.session()
        assert list(session.hello.snapshot) == [report]
        session.acknowledge(report)
    async with executing(executor_settings):
        assert not (await leader.session()).hello.snapshot


async def test_what_comes_ahead_waits_for_slots_and_what_never_fits_is_rejected(
    leader: Leader,
    executor_settings: dict[str, Any],
    work: Assignments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 60.0)
    executor_settings["cpu_millis"] = 1000
    full, more = (executor_pb2.Resources(cpu_millis=cpu) for cpu in (1000, 1001))
    told = tmp_path / "told"
    first, second, third = (
        work.of(shell(f"echo {name} >> {told}; sleep {rest}; echo {name} >> {told}"), resources=full)
        for name, rest in (("first", 0.2), ("second", 0), ("third", 0))
    )
    never = work.of(shell("true"), resources=more)
    async with executing(executor_settings):
        session = await leader.session()
        session.assign(first, second, third, never)
        rejected = await session.final(never[0].id)
        assert rejected.phase == executor_pb2.Report.PHASE_REJECTED and "no free slot" in rejected.reason
        for assign, _ in (first, second, third):
            assert (await session.final(assign.id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        assert told.read_text().split() == ["first", "first", "second", "second", "third", "third"]
        # The slots are free before the end is reported: what is assigned upon it begins at once.
        last = work.of(shell("true"), resources=full)
        session.assign(last)
        assert (await session.final(last[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
    assert session.hello.backlog > 0


async def test_what_waits_for_slots_is_stopped_told_to_the_next_leader_and_handed_back_by_a_drain(
    leader: Leader,
    executor_settings: dict[str, Any],
    work: Assignments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 60.0)
    executor_settings["cpu_millis"] = 1000
    full = executor_pb2.Resources(cpu_millis=1000)
    begun = tmp_path / "begun"
    runs = work.of(shell("sleep 600"), resources=full)
    stopped, left = (work.of(shell(f"touch {begun}"), resources=full) for _ in range(2))
    async with executing(executor_settings):
        session = await leader.session()
        session.assign(runs)
        await session.running(runs[0].id)
        session.assign(stopped, left)
        session.stop(stopped[0].id)
        assert (await session.final(stopped[0].id)).phase == executor_pb2.Report.PHASE_ABORTED
        session.close()
        session = await leader.session()
        told = {report.id.node: report.phase for report in session.hello.snapshot}
        assert told == {
            runs[0].id.node: executor_pb2.Report.PHASE_RUNNING,
            left[0].id.node: executor_pb2.Report.PHASE_INITIALIZING,
        }
        session.send(propeller_pb2.LeaderMessage(drain=propeller_pb2.Drain(grace_us=0)))
        for assign, _ in (left, runs):
            assert (await session.final(assign.id)).phase == executor_pb2.Report.PHASE_HANDED_BACK
    assert not begun.exists()


async def test_what_gets_no_slot_in_time_is_rejected(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WAIT_SECONDS", 0.05)
    executor_settings["cpu_millis"] = 1000
    full = executor_pb2.Resources(cpu_millis=1000)
    runs, waits = work.of(shell("sleep 600"), resources=full), work.of(shell("true"), resources=full)
    async with executing(executor_settings):
        session = await leader.session()
        session.assign(runs, waits)
        rejected = await session.final(waits[0].id)
        assert rejected.phase == executor_pb2.Report.PHASE_REJECTED and "in time" in rejected.reason
        session.stop(runs[0].id)
        assert (await session.final(runs[0].id)).phase == executor_pb2.Report.PHASE_ABORTED


async def test_a_full_disk_is_told_and_nothing_new_is_taken(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["disk_floor_bytes"] = 1 << 60
    async with executing(executor_settings):
        session = await leader.session()
        assigned = work.of(shell("true"))
        session.assign(assigned)
        rejected = await session.final(assigned[0].id)
        assert rejected.phase == executor_pb2.Report.PHASE_REJECTED and "disk" in rejected.reason
        await session.until(lambda: any("full" in beat.trouble for beat in session.heartbeats), "trouble")


async def test_a_stop_for_an_attempt_that_nobody_knows_is_answered(
    leader: Leader, executor_settings: dict[str, Any]
) -> None:
    id = executor_pb2.AttemptId(execution=7, node="n0", attempt=3)
    async with executing(executor_settings):
        session = await leader.session()
        session.stop(id)
        assert (await session.final(id)).phase == executor_pb2.Report.PHASE_ABORTED


async def test_an_assignment_without_its_template_fails_as_the_systems_fault(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    assign, _ = work.of(shell("true"))
    assign.spec_digest = b"nonsense"
    async with executing(executor_settings):
        session = await leader.session()
        session.send(propeller_pb2.LeaderMessage(assigns=[assign]))
        report = await session.final(assign.id)
        assert (error_of(report).code, report.recoverable) == ("SpecMissing", True)


async def test_stopping_lets_short_attempts_end_and_hands_back_the_long_ones(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    executor_settings["shutdown_grace_seconds"] = 0.8
    short, long, late = (work.of(shell(script)) for script in ("sleep 0.3", "sleep 600", "true"))
    async with executing(executor_settings) as life:
        session = await leader.session()
        session.assign(short, long)
        await session.running(long[0].id)
        life.stopping.set()
        await session.until(lambda: session.draining, "draining")
        session.assign(late)
        assert (await session.final(late[0].id)).phase == executor_pb2.Report.PHASE_REJECTED
        assert (await session.final(short[0].id)).phase == executor_pb2.Report.PHASE_SUCCEEDED
        report = await session.final(long[0].id)
        assert report.phase == executor_pb2.Report.PHASE_HANDED_BACK and report.started_us


async def test_two_executors_on_one_data_directory_are_refused(
    leader: Leader, executor_settings: dict[str, Any]
) -> None:
    async with executing(executor_settings):
        await leader.session()
        with pytest.raises(ExceptionGroup) as refused:
            async with executing(executor_settings):
                await asyncio.sleep(5)
        assert refused.group_contains(errors.FailedPrecondition, match="belongs to an executor that runs")


class Instant:
    """A runner without processes: every command succeeds at once and has written what its last word names."""

    started_us = 1
    process = None

    async def start(self, launch: Launch) -> Instant:
        return self

    async def wait(self) -> Exit:
        await asyncio.sleep(0)
        return Exit(code=0)

    def stop(self) -> None: ...


async def test_reports_of_many_attempts_travel_in_few_messages(
    leader: Leader, executor_settings: dict[str, Any], work: Assignments
) -> None:
    """With a runner of one's own the whole service runs in one process, without starting any other."""
    attempts = 1000
    assigned = [work.of(template("true"), resources=executor_pb2.Resources()) for _ in range(attempts)]
    async with executing(executor_settings, processes=Instant()):
        session = await leader.session()
        session.assign(*assigned)
        await session.ended(attempts)
        assert session.messages <= attempts / 10
