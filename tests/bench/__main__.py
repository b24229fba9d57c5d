"""`make bench`: how fast the whole system is, as its users feel it.

Everything runs on this machine: the client, the four services as `airscrew start` runs them, etcd and the database,
which syncs to the disk. One line of JSON for each result, on stdout and in `build/bench.jsonl`: medians of several
runs, `n` tasks a run, `p50_ms` and `seconds` for a whole run from the first byte of the request until the client has
the outputs, processor time by process.

Measured when they are asked for, see these modules: parts by themselves (`pool`, `queue`, `bulk`), and what the system
is where it is large or has nothing to do (`map`, `flat`, `wait`, `start`), and what tracing costs (`traced`).

    python -m tests.bench [--only w1,w3] [--modes engine,reuse,fork] [--database postgres] [--short]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from libs.runtime import native
from tests.bench import bulk, flat, mapped, measured, pool, queue, start, suite, systems, traced, waiting
from tests.bench.measured import Result
from tests.bench.workloads import Mode

PARTS: Mapping[str, Callable[..., Iterator[str]]] = {
    "pool": pool.lines,
    "queue": queue.lines,
    "bulk": bulk.lines,
    "map": mapped.lines,
    "flat": flat.lines,
    "wait": waiting.lines,
    "start": start.lines,
    "traced": traced.lines,
}
RESULTS = Path("build/bench.jsonl")


def measure(database: str, workloads: list[str], modes: list[Mode], sizes: suite.Sizes) -> Iterator[Result]:
    """A fresh system, and what is measured on it."""
    with systems.started(database, systems.TASK_CODE) as bench:
        yield from suite.run(bench.system, bench.stubs, database, workloads, modes, sizes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(suite.WORKLOADS), help="of %(default)s")
    parser.add_argument("--modes", default=",".join(Mode), help="of %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--short", action="store_true", help="small and few, to see that it works")
    given = parser.parse_args()
    workloads = given.only.lower().split(",")
    if unknown := set(workloads) - {*suite.WORKLOADS, *PARTS}:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join((*suite.WORKLOADS, *PARTS))}")
    if unknown := set(given.modes.split(",")) - set(Mode):
        parser.error(f"--modes: {', '.join(sorted(unknown))} is none of {', '.join(Mode)}")
    began = time.monotonic()
    results = []
    for line in _lines(workloads, [Mode(name) for name in given.modes.split(",")], given.database, short=given.short):
        told = json.dumps(json.loads(line) | {"code": native.form()})
        print(told, flush=True)
        results.append(told)
    measured.write(RESULTS, results)
    print(f"{len(results)} results in {time.monotonic() - began:.0f} s: {RESULTS}", file=sys.stderr)
    return 0


def _lines(wanted: list[str], modes: list[Mode], database: str, *, short: bool) -> Iterator[str]:
    whole = [name for name in wanted if name in suite.WORKLOADS]
    if whole:
        for result in measure(database, whole, modes, suite.SHORT if short else suite.FULL):
            yield result.line()
    for name in wanted:
        if name in PARTS:
            yield from PARTS[name](database, short=short)


if __name__ == "__main__":
    sys.exit(main())
