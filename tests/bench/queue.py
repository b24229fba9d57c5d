"""How many keys a second pass the queue service, and how long one takes: enqueued, leased to a leader and done.

The service is a process of its own, the client's two ends (`Enqueuer`, as in `admin`, and `WorkFeed`, as in the
propeller) are another one: three streams over a socket. `full` enqueues as fast as the leader takes, never more than a
few thousand ahead; `steady` enqueues so many a second, evenly in steps of a millisecond, and measures from `enqueue`
until the key has been leased.

    python -m tests.bench.queue [--keys 300000] [--rate 10000] [--runs 3] [--profile FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.clients.queue import Enqueuer, Key, Reason, WorkFeed
from tests.bench.measured import cpu_seconds
from tests.support.queue_process import QueueProcess

_AHEAD = 8_192
"""Keys that may be on their way: two leaders' credits."""

_KEYS = 300_000
_RATE = 10_000
_STEADY_SECONDS = 3
_RUNS = 3
_PROJECTS = 8
_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    seconds: float
    cpu_us: dict[str, float]
    """Processor time for each key, by process."""
    latencies_ms: Sequence[float]


def keys(first: int, number: int) -> Iterator[Key]:
    """Of executions in a few projects."""
    for id in range(first, first + number):
        yield Key(id, 0, f"project-{id % _PROJECTS}", reasons=Reason.SUBMITTED, traceparent=_TRACEPARENT)


async def full(address: str, number: int) -> list[float]:
    """As fast as it goes."""
    async with Enqueuer(address) as enqueuer, WorkFeed(address, 0, time.time_ns(), "bench") as feed:
        taken = sent = 0
        while taken < number:
            while sent < min(number, taken + _AHEAD):
                some = min(512, number - sent)
                enqueuer.enqueue(*keys(1 + sent, some))
                sent += some
            for leased in await anext(feed):
                feed.done(leased)
                taken += 1
    return []


async def steady(address: str, number: int, rate: int) -> list[float]:
    """At a rate; milliseconds from enqueueing until the lease."""
    enqueued = [0.0] * (number + 1)
    latencies: list[float] = []

    async def offer(enqueuer: Enqueuer) -> None:
        begun, sent = time.perf_counter(), 0
        while sent < number:
            due = min(int((time.perf_counter() - begun) * rate) + 1, number)
            now = time.perf_counter()
            for id in range(sent + 1, due + 1):
                enqueued[id] = now
            enqueuer.enqueue(*keys(sent + 1, due - sent))
            sent = due
            await asyncio.sleep(0.001)

    async with Enqueuer(address) as enqueuer, WorkFeed(address, 0, time.time_ns(), "bench") as feed:
        offering = asyncio.create_task(offer(enqueuer), name="offer")
        while len(latencies) < number:
            batch = await anext(feed)
            now = time.perf_counter()
            for leased in batch:
                latencies.append((now - enqueued[leased.key.id]) * 1000)
                feed.done(leased)
        await offering
    return latencies


@contextmanager
def _serving(folder: Path, profile: str | None) -> Iterator[QueueProcess]:
    process = QueueProcess(folder / "queue.log", profile=profile)
    asyncio.run(process.start())
    try:
        yield process
        asyncio.run(process.end(signal.SIGTERM))
    finally:
        process.clean_up()


def measure(process: QueueProcess, number: int, rate: int | None) -> Run:
    """One run, of a warm service."""
    pids = {"queue": process.process.pid, "client": os.getpid()}
    before, began = cpu_seconds(pids), time.perf_counter()
    work = full(process.address, number) if rate is None else steady(process.address, number, rate)
    latencies = asyncio.run(work)
    seconds = time.perf_counter() - began
    used = {name: (after - before[name]) / number * 1e6 for name, after in cpu_seconds(pids).items()}
    return Run(seconds, used, latencies)


def result(mode: str, number: int, runs: Sequence[Run]) -> str:
    """Medians of the runs, as JSON."""
    seconds = statistics.median(run.seconds for run in runs)
    shown: dict[str, object] = {
        "workload": "QUEUE",
        "mode": mode,
        "n": number,
        "seconds": round(seconds, 3),
        "tasks_per_s": round(number / seconds),
        "fastest_per_s": round(number / min(run.seconds for run in runs)),
        "runs": len(runs),
        "cpu_us_per_task": {
            name: round(statistics.median(run.cpu_us[name] for run in runs), 2) for name in runs[0].cpu_us
        },
    }
    if runs[0].latencies_ms:
        for name, place in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            each = [sorted(run.latencies_ms)[int(len(run.latencies_ms) * place)] for run in runs]
            shown[name] = round(statistics.median(each), 2)
            shown[f"best_{name}"] = round(min(each), 2)
    return json.dumps(shown)


def lines(_: str = "", *, short: bool = False) -> Iterator[str]:
    """All of it, as JSON; `short` is small and few, to see that it works."""
    return measure_all(2_000, 1_000, 1) if short else measure_all(_KEYS, _RATE, _RUNS)


def measure_all(number: int, rate: int, runs: int, profile: str | None = None) -> Iterator[str]:
    """Both modes, with one service."""
    with tempfile.TemporaryDirectory(prefix="airscrew-bench-") as folder, _serving(Path(folder), profile) as queue:
        measure(queue, number // 10, None)
        yield result("full", number, [measure(queue, number, None) for _ in range(runs)])
        some = rate * _STEADY_SECONDS
        yield result("steady", some, [measure(queue, some, rate) for _ in range(runs)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=_KEYS, help="of a full run, default: %(default)s")
    parser.add_argument("--rate", type=int, default=_RATE, help="of a steady run, default: %(default)s keys a second")
    parser.add_argument("--runs", type=int, default=_RUNS, help="default: %(default)s")
    parser.add_argument("--profile", help="where the service's profile goes (cProfile), which makes it much slower")
    given = parser.parse_args()
    for line in measure_all(given.keys, given.rate, given.runs, given.profile):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
