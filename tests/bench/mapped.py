"""A map over 100,000 items, each an echo task that the executor answers itself: how long, and the leader's memory.

The whole system runs as `airscrew start` runs it. The list is an input of the execution; the clock runs until the
client has the list of what the items returned. `propeller_peak_mb` is the most that the propeller's resident memory
has ever been.

    python -m tests.bench.mapped [--items 100000] [--runs 3] [--database postgres]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator

from tests.bench import measured, systems, workloads
from tests.bench.client import Client
from tests.bench.systems import Bench
from tests.bench.workloads import Mode
from tests.support.flytetypes import value

ITEMS = 100_000
RUNS = 3


def lines(database: str, *, short: bool = False) -> Iterator[str]:
    """As JSON; `short` is small and few, to see that it works."""
    with systems.started(database) as bench:
        yield measure(bench, 200, 1) if short else measure(bench, ITEMS, RUNS)


def measure(bench: Bench, items: int, runs: int) -> str:
    """Several runs on one system: the peak is that of all of them."""
    plan = workloads.register(bench.stubs, workloads.mapped(), Mode.ENGINE)
    client = Client(bench.stubs, "map-")
    given = value(list(range(items)))
    before = measured.cpu_seconds(bench.pids)
    with client.watching():
        tries = [client.run(plan, given=given)[0] for _ in range(runs)]
    used = measured.per_run(before, measured.cpu_seconds(bench.pids), runs)
    seconds = statistics.median(tries)
    return json.dumps(
        {
            "workload": "MAP",
            "mode": "engine",
            "n": items,
            "seconds": round(seconds, 2),
            "tasks_per_s": round(items / seconds, 1),
            "runs": runs,
            "best_seconds": round(min(tries), 2),
            "propeller_peak_mb": round(measured.memory(bench.pids["propeller"]).peak),
            "database": bench.database,
            "cpu_ms_per_task": {name: round(ms / items, 3) for name, ms in used.items()},
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=RUNS, help="default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    given = parser.parse_args()
    with systems.started(given.database) as bench:
        print(measure(bench, given.items, given.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
