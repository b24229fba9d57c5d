"""Whether an event costs the same in a small and in a large workflow: from 100 to 100,000 nodes, all at once.

Each workflow is a fan: so many echo tasks, then one that gets what all returned (W3 at other sizes); small ones are
run more often. What is compared is the leader's processor time for a task; `ratio` is that of a
size to the one of the smallest. The time that the client waits is beside it.

    python -m tests.bench.flat [--widths 100,1000,10000,100000] [--database postgres]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence

from tests.bench import measured, systems, workloads
from tests.bench.client import Client
from tests.bench.systems import Bench
from tests.bench.workloads import Mode

WIDTHS = (100, 1_000, 10_000, 100_000)
MOST_RUNS = 100
"""Of the smallest size."""


def lines(database: str, *, short: bool = False) -> Iterator[str]:
    """As JSON; `short` is small and few, to see that it works."""
    with systems.started(database) as bench:
        yield from measure(bench, (5, 20) if short else WIDTHS)


def measure(bench: Bench, widths: Sequence[int]) -> Iterator[str]:
    """One size after the other, the smallest first: it is what the others are compared with."""
    first: float | None = None
    for width in widths:
        plan = workloads.register(bench.stubs, workloads.fan(width), Mode.ENGINE)
        client = Client(bench.stubs, f"flat-{width}-")
        runs = min(MOST_RUNS, max(widths) // width)
        with client.watching():
            client.run(plan)  # its graph is built, which is done once
            before = measured.cpu_seconds(bench.pids)
            tries = [client.run(plan)[0] for _ in range(runs)]
            used = measured.per_run(before, measured.cpu_seconds(bench.pids), runs)
        seconds = statistics.median(tries)
        cost = used["propeller"] / (width + 1)
        first = first or cost
        yield json.dumps(
            {
                "workload": "FLAT",
                "mode": "engine",
                "n": width + 1,
                "seconds": round(seconds, 4),
                "tasks_per_s": round((width + 1) / seconds, 1),
                "ms_per_task": round(seconds * 1000 / (width + 1), 4),
                "runs": runs,
                "propeller_cpu_ms_per_task": round(cost, 4),
                "ratio": round(cost / first, 2) if first else None,
                "propeller_peak_mb": round(measured.memory(bench.pids["propeller"]).peak),
                "database": bench.database,
                "cpu_ms_per_task": {name: round(ms / (width + 1), 4) for name, ms in used.items()},
            }
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    given = parser.parse_args()
    with systems.started(given.database) as bench:
        for line in measure(bench, [int(width) for width in given.widths.split(",")]):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
