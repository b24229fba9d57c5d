"""What the executor itself takes for a flytekit task: started cold, forked from a warm process, in one that is kept.

    python -m tests.bench.executor [cold|fork|reuse …] [--tasks N] [--slots N] [--ahead N] [--runs N] [--profile]

The executor is a process of its own; a scripted leader in this one gives it no-op tasks, as many at a time as it has
slots and as a leader would assign ahead, and one after the other. Printed, medians of the runs:

    mode · tasks/s · ms from the assignment to the final report (p50, p99; one at a time) · CPU ms a task, and whose

The first task of a version, which waits for its zygote, is not in the figures but beside them. `--profile` shows where
the executor's own time goes (cProfile, which slows it).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from flyteidl.core import interface_pb2, literals_pb2, tasks_pb2, types_pb2

from protos import executor_pb2, propeller_pb2
from tests.bench import measured
from tests.support.executing import template
from tests.support.leader import TOKEN, Assignments, ExecutorSession, Leader

MODES: Final = {"cold": {"airscrew/warm": "false"}, "fork": {}, "reuse": {"airscrew/reuse": "true"}}
TASKS: Final = {"cold": 20, "fork": 300, "reuse": 4000}
ALONE: Final = {"cold": 5, "fork": 50, "reuse": 300}
AHEAD: Final = {"cold": 0, "fork": 2, "reuse": 20}
CODE: Final = "from flytekit import task\n\n\n@task\ndef noop(x: int) -> int:\n    return x\n"
WORDS: Final = """pyflyte-execute --inputs {{.input}} --output-prefix {{.outputPrefix}}
    --raw-output-data-prefix {{.rawOutputDataPrefix}} --checkpoint-path {{.checkpointOutputPrefix}}
    --prev-checkpoint {{.prevCheckpointPrefix}}
    --resolver flytekit.core.python_auto_container.default_task_resolver -- task-module airscrew_noop task-name noop"""


def noop(mode: str, code: Path) -> tasks_pb2.TaskTemplate:
    """The task, whose code is part of its environment."""
    task = template(*WORDS.split(), outputs={"o0": types_pb2.INTEGER}, env=[{"key": "PYTHONPATH", "value": str(code)}])
    integer = interface_pb2.Variable(type=types_pb2.LiteralType(simple=types_pb2.INTEGER))
    task.interface.inputs.variables["x"].CopyFrom(integer)
    task.config.update(MODES[mode])
    return task


def integer(value: int) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))


@contextlib.asynccontextmanager
async def executor(folder: Path, leader: Leader, slots: int, profile: Path | None) -> AsyncIterator[int]:
    """The executor's process; its id."""
    token = folder / "token"
    token.write_text(TOKEN)
    environ = {
        "PATH": os.environ["PATH"],
        "AIRSCREW_PROPELLERS": leader.address,
        "AIRSCREW_SESSION_TOKEN_FILE": str(token),
        "AIRSCREW_BLOB": str(folder / "blob"),
        "AIRSCREW_EXECUTOR_DATA_DIR": str(folder / "data"),
        "AIRSCREW_EXECUTOR_TASK_PYTHON": os.environ["AIRSCREW_EXECUTOR_TASK_PYTHON"],
        "AIRSCREW_EXECUTOR_CPU_MILLIS": str(1000 * slots),
        "AIRSCREW_EXECUTOR_MEMORY_BYTES": str(slots << 30),
        "AIRSCREW_EXECUTOR_DISK_FLOOR_BYTES": "0",
        "AIRSCREW_LOG_LEVEL": os.environ.get("AIRSCREW_LOG_LEVEL", "warning"),
    }
    profiled = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    process = await asyncio.create_subprocess_exec(sys.executable, *profiled, "-m", "services.executor", env=environ)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


class Ends:
    """Waits for final reports without going through all of them each time."""

    def __init__(self, session: ExecutorSession) -> None:
        self._session = session
        self._seen = 0
        self.rejected = 0
        self._gathered: list[tuple[executor_pb2.Assign, tasks_pb2.TaskTemplate]] = []
        self._waiting: dict[str, asyncio.Future[executor_pb2.Report]] = {}

    async def follow(self) -> None:
        while True:
            await self._session.until(lambda: len(self._session.reports) > self._seen, "reports")
            said = self._session.reports[self._seen :]
            self._seen += len(said)
            acks = [executor_pb2.Ack(id=report.id, seq=report.seq) for report in said]
            self._session.send(propeller_pb2.LeaderMessage(acks=acks))
            for report in said:
                waiting = self._waiting.get(report.id.node)
                if waiting is not None and report.phase >= executor_pb2.Report.PHASE_SUCCEEDED and not waiting.done():
                    waiting.set_result(report)

    async def run(self, work: Assignments, task: tasks_pb2.TaskTemplate, number: int) -> float:
        """Runs one task; how long it took in seconds. One that has waited too long for a slot is assigned anew."""
        begun = time.perf_counter()
        attempts = itertools.count()
        while (
            report := await self._attempt(work, task, number, next(attempts))
        ).phase == executor_pb2.Report.PHASE_REJECTED:
            self.rejected += 1
        assert report.phase == executor_pb2.Report.PHASE_SUCCEEDED, (report, report.error)
        found = literals_pb2.LiteralMap.FromString(report.outputs.inline).literals["o0"].scalar.primitive.integer
        assert found == number, report
        return time.perf_counter() - begun

    async def _attempt(
        self, work: Assignments, task: tasks_pb2.TaskTemplate, number: int, attempt: int
    ) -> executor_pb2.Report:
        node, one_core = f"n{number}", executor_pb2.Resources(cpu_millis=1000)
        assigned = work.of(task, {"x": integer(number)}, node=node, attempt=attempt, resources=one_core)
        waiting: asyncio.Future[executor_pb2.Report] = asyncio.get_running_loop().create_future()
        self._waiting[node] = waiting
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._assign)
        self._gathered.append(assigned)
        report = await waiting
        del self._waiting[node]
        return report

    def _assign(self) -> None:
        """Sends what was asked for in this round of the event loop, as a leader's turn does."""
        self._session.assign(*self._gathered)
        self._gathered.clear()


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU seconds of the executor, and of everything below it."""
    return measured.cpu_seconds({"executor": pid}) | measured.cpu_of_tasks(pid)


async def measure(mode: str, count: int, slots: int, ahead: int, profile: Path | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="airscrew-bench-") as name:
        folder = Path(name)
        (folder / "code").mkdir()
        (folder / "code" / "airscrew_noop.py").write_text(CODE)
        task, work = noop(mode, folder / "code"), Assignments(str(folder / "blob"))
        leader = await Leader(acknowledges=False).start()
        try:
            async with executor(folder, leader, slots, profile) as pid:
                session = await leader.session()
                ends = Ends(session)
                following = asyncio.create_task(ends.follow(), name="follow")
                first = await ends.run(work, task, 0)
                alone = sorted([await ends.run(work, task, 1 + n) for n in range(ALONE[mode])])
                numbers = iter(range(1000, 1000 + count))

                async def lane() -> None:
                    for number in numbers:
                        await ends.run(work, task, number)

                before, begun = cpu_seconds(pid), time.perf_counter()
                await asyncio.gather(*(lane() for _ in range(slots * (1 + ahead))))
                seconds, after = time.perf_counter() - begun, cpu_seconds(pid)
                following.cancel()
        finally:
            await leader.stop()
    return {
        "tasks_per_s": count / seconds,
        "rejected": ends.rejected,
        "p50_ms": 1000 * alone[len(alone) // 2],
        "p99_ms": 1000 * alone[int(len(alone) * 0.99)],
        "first_ms": 1000 * first,
        **{f"{whose}_cpu_ms": 1000 * (after[whose] - before[whose]) / count for whose in before},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What the executor takes for a flytekit task.")
    parser.add_argument("modes", nargs="*", metavar="MODE", help=f"of {', '.join(MODES)}; default: fork and reuse")
    parser.add_argument("--tasks", type=int, help="how many in each run")
    parser.add_argument("--slots", type=int, default=4, help="how many at a time")
    parser.add_argument("--ahead", type=int, help="how many more wait for each of these")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="where the executor's time goes")
    chosen = parser.parse_args()
    for mode in chosen.modes or ("fork", "reuse"):
        profile = Path(tempfile.gettempdir()) / f"airscrew-executor-{mode}.prof" if chosen.profile else None
        tasks, ahead = chosen.tasks or TASKS[mode], AHEAD[mode] if chosen.ahead is None else chosen.ahead
        runs = [asyncio.run(measure(mode, tasks, chosen.slots, ahead, profile)) for _ in range(chosen.runs)]
        of = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{mode:5}  {of['tasks_per_s']:7.0f} tasks/s   {of['p50_ms']:6.1f} ms (p99 {of['p99_ms']:.1f})"
            f"   CPU ms a task: executor {of['executor_cpu_ms']:.2f}, tasks {of['tasks_cpu_ms']:.2f}"
            f"   first {of['first_ms']:.0f} ms"
            f"   {len(runs)} runs of {tasks}, {chosen.slots} slots, {ahead} ahead"
            f"   {of['rejected']:.0f} rejected",
            flush=True,
        )
        if profile is not None:
            import pstats

            pstats.Stats(str(profile)).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
