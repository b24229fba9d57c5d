"""What tracing costs: W3 with re-used processes on two systems side by side, of which one records every span.

Both run at the same time, and the same workflow is run on the one and on the other by turns, so that whatever else the
machine does meets both; then again on fresh pairs. Spans go to a collector that takes what it is sent and does not look
at it: what a real one does with them is not the engine's cost.

    python -m tests.bench.traced [--width 1000] [--runs 5] [--pairs 3] [--mode reuse]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from tests.bench import measured, systems, workloads
from tests.bench.client import Client
from tests.bench.systems import Bench
from tests.bench.workloads import Mode

WIDTH = 1_000
RUNS = 5
PAIRS = 3
"""One system is a few hundredths faster than another that is the same, for as long as it runs."""
OFF, FULL = "off", "full"


class Collector(grpc.GenericRpcHandler):
    """Takes everything, and counts the bytes."""

    def __init__(self) -> None:
        self.taken = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(self._take)

    def _take(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.taken += len(request)
        return b""


@contextmanager
def collecting() -> Iterator[tuple[Collector, dict[str, str]]]:
    """A collector, and the variables that make services send to it."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[collector])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}"}
    finally:
        server.stop(None).wait()


def lines(database: str, *, short: bool = False) -> Iterator[str]:
    """As JSON, without tracing and with it; `short` is small and few, to see that it works."""
    return measure(database, Mode.ENGINE, 20, 1, 1) if short else measure(database, Mode.REUSE, WIDTH, RUNS, PAIRS)


def measure(database: str, mode: Mode, width: int, runs: int, pairs: int) -> Iterator[str]:
    """So many pairs of fresh systems, and what is measured on them."""
    found = []
    for _ in range(pairs):
        with (
            collecting() as (collector, environment),
            systems.started(database, systems.TASK_CODE) as plain,
            systems.started(database, systems.TASK_CODE | environment) as traced,
        ):
            found.append(compare(plain, traced, mode, width, runs))
        assert collector.taken > width * runs * 100, f"only {collector.taken} bytes of spans have come"
    yield from told(found, database, mode, width)


def compare(plain: Bench, traced: Bench, mode: Mode, width: int, runs: int) -> Pair:
    """By turns on the one and the other."""
    pair = {name: Side(name, bench, mode, width) for name, bench in ((OFF, plain), (FULL, traced))}
    for number in range(runs + 1):
        for side in pair.values():
            side.run(warm_up=number == 0)
    return pair


def told(pairs: Sequence[Pair], database: str, mode: Mode, width: int) -> Iterator[str]:
    """As JSON."""
    tries = {name: [seconds for pair in pairs for seconds in pair[name].tries] for name in (OFF, FULL)}
    used = {name: _mean([pair[name].used for pair in pairs]) for name in (OFF, FULL)}
    for tracing in (OFF, FULL):
        seconds = statistics.median(tries[tracing])
        yield json.dumps(
            {
                "workload": "TRACED",
                "of": "W3",
                "mode": mode,
                "tracing": tracing,
                "n": width + 1,
                "seconds": round(seconds, 4),
                "tasks_per_s": round((width + 1) / seconds, 1),
                "runs": len(tries[tracing]),
                "pairs": len(pairs),
                "best_ms": round(min(tries[tracing]) * 1000, 1),
                "ratio": round(statistics.median(a / b for a, b in zip(tries[tracing], tries[OFF], strict=True)), 3),
                "cpu_ratio": round(sum(used[tracing].values()) / sum(used[OFF].values()), 3),
                "database": database,
                "cpu_ms_per_task": {name: round(ms / (width + 1), 3) for name, ms in used[tracing].items()},
            }
        )


def _mean(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(each[name] for each in several) for name in several[0]}


class Side:
    """One of the two systems."""

    def __init__(self, name: str, bench: Bench, mode: Mode, width: int) -> None:
        self._bench = bench
        self._plan = workloads.register(bench.stubs, workloads.fan(width), mode)
        self._client = Client(bench.stubs, f"traced-{name}-")
        self._before = dict[str, float]()
        self.tries: list[float] = []
        self.used: dict[str, float] = {}

    def run(self, *, warm_up: bool) -> None:
        with self._client.watching():
            seconds, _ = self._client.run(self._plan)
        if warm_up:
            self._before = self._cpu_seconds()
        else:
            self.tries.append(seconds)
            self.used = measured.per_run(self._before, self._cpu_seconds(), len(self.tries))

    def _cpu_seconds(self) -> dict[str, float]:
        return measured.cpu_seconds(self._bench.pids) | measured.cpu_of_tasks(self._bench.pids["executor"])


Pair = Mapping[str, Side]
"""Of the two, each under what tracing it has."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=WIDTH, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=RUNS, help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="default: %(default)s")
    parser.add_argument("--mode", choices=tuple(Mode), default=Mode.REUSE)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    given = parser.parse_args()
    for line in measure(given.database, Mode(given.mode), given.width, given.runs, given.pairs):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
