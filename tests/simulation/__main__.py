"""The simulation as a command: `make simulate SEEDS=200000`, `make simulate SEED=4711`.

Many seeds are played on all cores, and those that fail are named; one seed is played with its whole trace. Hashes of
strings are fixed, so that a seed is the same run everywhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.support.simulation.mutations import MUTATIONS, NONE, Mutation
from tests.support.simulation.world import Result, simulate

_CHUNK = 20
_NEWS_SECONDS = 15.0
_FAILURES_SHOWN = 20


def main() -> int:
    _fix_hashes()
    arguments = _arguments()
    if arguments.seed is not None:
        return _show(simulate(arguments.seed, _mutation(arguments.mutation), tracing=True))
    if arguments.mutations:
        return _hunt(arguments.seeds, arguments.seconds)
    return _play(arguments.first, arguments.seeds, arguments.seconds, arguments.jobs)


def _fix_hashes() -> None:
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no more seeds after this long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="on how many cores")
    parser.add_argument("--seed", type=int, help="play this one only, and show what happens")
    parser.add_argument("--mutation", default="none", help="… with this mistake built in")
    parser.add_argument("--mutations", action="store_true", help="look how soon each mistake is found")
    return parser.parse_args()


def _mutation(name: str) -> Mutation:
    known = {mutation.name: mutation for mutation in (NONE, *MUTATIONS)}
    if name not in known:
        raise SystemExit(f"no such mutation: {name}; there are: {', '.join(known)}")
    return known[name]


def _show(result: Result) -> int:
    for line in result.trace:
        print(line)
    print(f"seed {result.seed}: {result.seconds:.1f} s of virtual time")
    for violation in result.violations:
        print(f"VIOLATED: {violation}")
    return int(bool(result.violations))


def _play(first: int, seeds: int, seconds: float, jobs: int) -> int:
    began = time.monotonic()
    played, failed, told = 0, list[Result](), began
    for results in _results(first, first + seeds, began + seconds, jobs):
        played += len(results)
        for result in results:
            if result.violations:
                failed.append(result)
                print(f"seed {result.seed} FAILED: {result.violations[0]}", flush=True)
        if time.monotonic() - told > _NEWS_SECONDS:
            told = time.monotonic()
            print(f"{played} seeds, {played / (told - began):.0f} a second, {len(failed)} failed", flush=True)
        if len(failed) >= _FAILURES_SHOWN:
            print("… and that is enough")
            break
    took = time.monotonic() - began
    print(f"{played} seeds from {first} in {took:.1f} s, {played / took:.0f} a second: {len(failed)} failed")
    if failed:
        print(f"to see one again: make simulate SEED={failed[0].seed}")
    return int(bool(failed))


def _results(first: int, end: int, deadline: float, jobs: int) -> Iterator[list[Result]]:
    if jobs == 1:
        for seed in range(first, end):
            if time.monotonic() > deadline:
                return
            yield [simulate(seed)]
        return
    chunks = iter(range(first, end, _CHUNK))
    with ProcessPoolExecutor(jobs) as pool:
        under_way: set[Future[list[Result]]] = set()
        while True:
            while (
                len(under_way) < 2 * jobs and time.monotonic() < deadline and (chunk := next(chunks, None)) is not None
            ):
                under_way.add(pool.submit(_chunk, chunk, min(chunk + _CHUNK, end)))
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def _chunk(first: int, end: int) -> list[Result]:
    return [simulate(seed) for seed in range(first, end)]


def _hunt(seeds: int, seconds: float) -> int:
    """Plays seeds with each mistake until one shows it."""
    missed = 0
    for mutation in MUTATIONS:
        began = time.monotonic()
        found: Result | None = None
        for seed in range(seeds):
            result = simulate(seed, mutation)
            if result.violations:
                found = result
                break
            if time.monotonic() - began > seconds:
                break
        if found is None:
            missed += 1
            print(f"{mutation.name}: NOT FOUND in {seed + 1} seeds", flush=True)
        else:
            print(f"{mutation.name}: found by seed {found.seed}: {found.violations[0]}", flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
