"""Attempts in line for a process that many tasks share: each runs once, and what becomes of one hurts no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from protos import executor_pb2, propeller_pb2
from tests.support import warm
from tests.support.leader import Leader, error_of

CORE = executor_pb2.Resources(cpu_millis=1000, memory_bytes=1 << 20)
Assigned = Any


class Lines:
    """Tasks that want a core each, and note in a file that they have run."""

    def __init__(self, bench: warm.Bench, tmp_path: Path) -> None:
        self.session = bench.session
        self.bench = bench
        self.notes = tmp_path / "notes"
        self.gate = tmp_path / "gate"

    def task(self, name: str, what: str = "0") -> Assigned:
        note = f"open({str(self.notes)!r}, 'a').write({name!r} + chr(10))"
        return self.bench.assigned("does", f"({note}, {what}, {name!r})[2]", resources=CORE)

    def waits(self, name: str) -> Assigned:
        """One that ends when the gate is there."""
        return self.task(name, f"[time.sleep(0.005) for _ in iter(lambda: os.path.exists({str(self.gate)!r}), True)]")

    def noted(self) -> list[str]:
        return self.notes.read_text().split() if self.notes.exists() else []

    async def warmed(self, processes: int) -> None:
        """That many processes are there."""
        tasks = [self.waits(f"w{number}") for number in range(processes)]
        self.session.assign(*tasks)
        for task in tasks:
            await self.session.running(task[0].id)
        self.gate.touch()
        for task in tasks:
            await self.value(task)
        self.gate.unlink()
        self.notes.unlink()

    async def value(self, assigned: Assigned) -> str:
        return warm.value(await self.session.final(assigned[0].id))


@pytest.fixture
def lines(leader: Leader, executor_settings: dict[str, Any], tmp_path: Path) -> Any:
    @asynccontextmanager
    async def opened(slots: int = 1, **more: Any) -> AsyncIterator[Lines]:
        settings = executor_settings | {"cpu_millis": 1000 * slots} | more
        async with warm.benched("reuse", leader, settings, tmp_path) as bench:
            found = Lines(bench, tmp_path)
            await found.warmed(slots)
            yield found

    return opened


async def test_each_runs_once_in_the_order_of_assignment_and_has_its_own_log(lines: Any) -> None:
    async with lines() as line:
        printing = [
            line.task(f"t{number}", f"(print('said', {number}), number := os.system('echo child {number}'))")
            for number in range(25)
        ]
        quiet = [line.task(f"q{number}") for number in range(25)]
        tasks = [task for pair in zip(printing, quiet, strict=True) for task in pair]
        line.session.assign(*tasks)
        names = [await line.value(task) for task in tasks]
        assert line.noted() == names
        for number, (assign, _) in enumerate(printing):
            assert Path(assign.log_uri).read_text() == f"said {number}\nchild {number}\n"
        assert not [assign.log_uri for assign, _ in quiet if Path(assign.log_uri).exists()]


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("os._exit(3)", "TaskProcessFailed"),
        ("os.kill(os.getpid(), 9)", "Interrupted"),
        ("os.kill(os.getppid(), 9) or time.sleep(60)", "Interrupted"),
        ("threading.Thread(target=time.sleep, args=(0.05,)).start()", ""),
        ("os.closerange(3, 4096)", ""),
        # It dies of this when it has answered, before it has taken the next.
        ("[os.close(n) for n in range(3, 99) if os.path.realpath(f'/proc/self/fd/{n}') == os.devnull]", ""),
    ],
)
async def test_a_process_that_ends_with_its_task_takes_nobody_with_it_who_is_in_line(
    lines: Any, what: str, code: str
) -> None:
    async with lines() as line:
        for round in range(2):
            first = [line.task(f"{round}a{number}") for number in range(3)]
            ending = line.task(f"{round}e", what)
            rest = [line.task(f"{round}b{number}") for number in range(6)]
            line.session.assign(*first, ending, *rest)
            report = await line.session.final(ending[0].id)
            assert (error_of(report).code if report.error else "") == code
            names = [await line.value(task) for task in (*first, *rest)]
            assert sorted(line.noted()) == sorted([*names, f"{round}e"])
            line.notes.unlink()


async def test_who_is_stopped_in_line_never_begins_and_who_is_stopped_running_stops_alone(lines: Any) -> None:
    async with lines() as line:
        runs, waits, follows = line.waits("runs"), line.task("waits"), line.task("follows")
        line.session.assign(runs, waits, follows)
        line.session.stop(waits[0].id, "not wanted")
        aborted = await line.session.final(waits[0].id)
        assert (aborted.phase, aborted.reason) == (executor_pb2.Report.PHASE_ABORTED, "not wanted")
        line.session.stop(runs[0].id, "enough")
        assert (await line.session.final(runs[0].id)).phase == executor_pb2.Report.PHASE_ABORTED
        assert await line.value(follows) == "follows"
        assert line.noted() in (["runs", "follows"], ["follows"])


@pytest.mark.parametrize("size", [0, 30_000])  # of the larger, the channel does not take as many as may be in line
async def test_who_is_stopped_whenever_it_may_be_hurts_no_other(lines: Any, size: int) -> None:
    async with lines() as line:
        tasks = [line.task(f"t{number}", f"len({'x' * size!r})") for number in range(60)]
        line.session.assign(*tasks)
        for number in range(5, 60, 10):
            line.session.stop(tasks[number][0].id, "not wanted")
            await asyncio.sleep(0)
        ended = [await line.session.final(assign.id) for assign, _ in tasks]
        done = {f"t{n}" for n, report in enumerate(ended) if report.phase == executor_pb2.Report.PHASE_SUCCEEDED}
        stopped = {f"t{n}" for n, report in enumerate(ended) if report.phase == executor_pb2.Report.PHASE_ABORTED}
        assert len(done) + len(stopped) == 60 and stopped <= {f"t{number}" for number in range(5, 60, 10)}
        noted = line.noted()
        assert len(noted) == len(set(noted)) and done <= set(noted) <= done | stopped


async def test_who_is_behind_one_that_takes_long_runs_elsewhere_or_is_turned_away_in_time(lines: Any) -> None:
    async with lines(slots=2) as line:
        long = line.waits("long")
        short = [line.task(f"s{number}") for number in range(12)]
        line.session.assign(short[0], long, *short[1:])
        for task in short:
            await line.value(task)
        assert (await line.session.running(long[0].id)).phase == executor_pb2.Report.PHASE_RUNNING
        other, late = line.waits("other"), line.task("late")
        line.session.assign(other, late)
        report = await line.session.final(late[0].id)
        assert (report.phase, report.reason) == (
            executor_pb2.Report.PHASE_REJECTED,
            "no slot has become free in time",
        )
        line.gate.touch()
        assert [await line.value(task) for task in (long, other)] == ["long", "other"]
        assert "late" not in line.noted()


async def test_who_is_in_line_when_the_executor_drains_is_handed_back(lines: Any) -> None:
    async with lines() as line:
        runs, waiting = line.waits("runs"), [line.task(f"t{number}") for number in range(5)]
        line.session.assign(runs, *waiting)
        line.session.send(propeller_pb2.LeaderMessage(drain=propeller_pb2.Drain(grace_us=60_000_000)))
        for assign, _ in waiting:
            assert (await line.session.final(assign.id)).phase == executor_pb2.Report.PHASE_HANDED_BACK
        line.gate.touch()
        assert await line.value(runs) == "runs"
        assert line.noted() == ["runs"]


async def test_inputs_of_any_size_come_along(lines: Any) -> None:
    async with lines() as line:
        sizes = [1, 70_000, 1, 500_000, 40_000, 1, 65_536, 1]
        tasks = [line.task(f"t{number}", f"len({'x' * size!r})") for number, size in enumerate(sizes)]
        line.session.assign(*tasks)
        names = [await line.value(task) for task in tasks]
        assert line.noted() == names


async def test_the_time_that_one_is_allowed_begins_with_its_turn(lines: Any) -> None:
    async with lines() as line:
        slow = [
            line.bench.assigned("does", "time.sleep(0.02) or 'done'", resources=CORE, time_allowed_us=600_000)
            for _ in range(25)
        ]
        line.session.assign(*slow)
        assert {await line.value(task) for task in slow} == {"done"}
        late = line.bench.assigned("does", "time.sleep(60)", resources=CORE, time_allowed_us=200_000)
        after = [line.task(f"t{number}") for number in range(5)]
        line.session.assign(late, *after)
        assert error_of(await line.session.final(late[0].id)).code == "TimeoutExpired"
        assert [await line.value(task) for task in after] == [f"t{number}" for number in range(5)]
