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
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from libs.workerpool import WorkerPool

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
    subprocess.run([go, "build", "-o", str(_GO_PROGRAM.resolve()), "."], cwd=_GO_SOURCE, check=True, timeout=300)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="10,1000,10000", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=200_000, help="of one run, default: %(default)s")
    parser.add_argument("--runs", type=int, default=7, help="default: %(default)s")
    given = parser.parse_args()
    measurements: dict[str, Callable[[int, int], float]] = {"no-op": ours(nothing), "suspends": ours(suspends)}
    if build_gammazero():
        measurements["gammazero"] = gammazero
    for workers in map(int, given.workers.split(",")):
        seconds: dict[str, list[float]] = {mode: [] for mode in measurements}
        for _ in range(given.runs):
            for mode, measure in measurements.items():
                seconds[mode].append(measure(workers, given.jobs))
        for mode, runs in seconds.items():
            median = statistics.median(runs)
            result = {
                "workload": "POOL",
                "mode": mode,
                "workers": workers,
                "n": given.jobs,
                "seconds": round(median, 4),
                "tasks_per_s": round(given.jobs / median),
                "fastest_per_s": round(given.jobs / min(runs)),
                "ms_per_task": round(median * 1000 / given.jobs, 6),
                "runs": len(runs),
            }
            print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
