"""How many jobs a second the worker pool does, beside gammazero's on the same machine in the same minutes.

Jobs are submitted at once to a fresh pool and waited for. `no-op` is a coroutine function that does nothing; `suspends`
is one that waits once for the event loop; `gammazero` is a Go function that does nothing, in the Go package
`github.com/gammazero/workerpool` (left out where there is no `go`). The three take turns, so that all feel what else
the machine does.

    python -m tests.bench.pool [--workers 10,1000,10000] [--jobs 200000] [--runs 7]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from libs.workerpool import WorkerPool

_WORKERS = (10, 1_000, 10_000)
_JOBS = 200_000
_RUNS = 7

_GO_SOURCE = Path(__file__).with_name("gammazero")
_GO_PROGRAM = Path("build/bench/gammazero")


async def nothing() -> None:
    """Never waits."""


async def suspends() -> None:
    """Waits once."""
    await asyncio.sleep(0)


def ours(job: Callable[[], Awaitable[None]]) -> Callable[[int, int], float]:
    """A measurement: seconds that so many of these jobs take with so many workers."""

    async def run(workers: int, jobs: int) -> float:
        began = time.perf_counter()
        pool = WorkerPool(workers)
        submit = pool.submit
        for _ in range(jobs):
            submit(job)
        await pool.stop_wait()
        return time.perf_counter() - began

    def measure(workers: int, jobs: int) -> float:
        gc.collect()
        return asyncio.run(run(workers, jobs))

    return measure


def gammazero(workers: int, jobs: int) -> float:
    """The same with the Go pool, whose program must have been built."""
    done = subprocess.run(
        [str(_GO_PROGRAM.resolve()), str(workers), str(jobs)], check=True, capture_output=True, text=True, timeout=120
    )
    return int(done.stdout) / 1e9


def build_gammazero() -> bool:
    """Returns whether it can be measured here."""
    go = shutil.which("go")
    if go is None:
        print("no go on PATH: gammazero is left out", file=sys.stderr)
        return False
    _GO_PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    build = [go, "build", "-o", str(_GO_PROGRAM.resolve()), "."]
    done = subprocess.run(build, cwd=_GO_SOURCE, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        print(f"gammazero is left out: {done.stderr}", file=sys.stderr)
    return done.returncode == 0


def lines(_: str = "", *, short: bool = False) -> Iterator[str]:
    """All of it, as JSON; `short` is small and few, to see that it works."""
    return measure((10, 100), 2_000, 1) if short else measure(_WORKERS, _JOBS, _RUNS)


def measure(widths: Sequence[int], jobs: int, runs: int) -> Iterator[str]:
    """A line for each width and mode."""
    measurements: dict[str, Callable[[int, int], float]] = {"no-op": ours(nothing), "suspends": ours(suspends)}
    if build_gammazero():
        measurements["gammazero"] = gammazero
    for workers in widths:
        seconds: dict[str, list[float]] = {mode: [] for mode in measurements}
        used: dict[str, list[float]] = {mode: [] for mode in measurements}
        for _ in range(runs):
            for mode, measurement in measurements.items():
                before = _processor_seconds()
                seconds[mode].append(measurement(workers, jobs))
                used[mode].append(_processor_seconds() - before)
        for mode, times in seconds.items():
            yield _result(mode, workers, jobs, times, used[mode])


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _result(mode: str, workers: int, jobs: int, seconds: Sequence[float], used: Sequence[float]) -> str:
    median = statistics.median(seconds)
    return json.dumps(
        {
            "workload": "POOL",
            "mode": mode,
            "workers": workers,
            "n": jobs,
            "seconds": round(median, 4),
            "tasks_per_s": round(jobs / median),
            "fastest_per_s": round(jobs / min(seconds)),
            "ms_per_task": round(median * 1000 / jobs, 6),
            "cpu_us_per_task": round(statistics.median(used) / jobs * 1e6, 3),
            "runs": len(seconds),
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default=",".join(map(str, _WORKERS)), help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=_JOBS, help="of one run, default: %(default)s")
    parser.add_argument("--runs", type=int, default=_RUNS, help="default: %(default)s")
    given = parser.parse_args()
    for line in measure([int(width) for width in given.workers.split(",")], given.jobs, given.runs):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
