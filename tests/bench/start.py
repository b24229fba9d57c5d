"""How long the whole system takes to start, and what memory it keeps while it has nothing to do.

`START`: from the command `airscrew start` until a client that asks again and again learns that an executor is
connected: then everything answers, somebody leads, and tasks can run. `fresh` begins with an empty data directory,
`again` with that of the start before. `ready_seconds` is when the command itself said that it is ready, `cpu_seconds`
the processor time of all processes until then.

`IDLE`: all processes after one flytekit task, so that one warm process (a zygote) is kept; everything below the
command counts. `together_mb.pss` is what they take of the machine: pages that several share (code of the same
libraries, what a forked process still has in common with the one that it comes from) count once. In `together_mb.rss`
they count once for each process.

    python -m tests.bench.start [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from protos import airscrew_pb2, airscrew_pb2_grpc
from services.standalone import ports
from tests.bench import measured, systems, workloads
from tests.bench.client import Client
from tests.bench.systems import Bench
from tests.bench.workloads import Mode

RUNS = 5
COMMAND: Final = str(Path(sys.executable).with_name("airscrew"))
_ASK_SECONDS = 0.02
_SETTLE_SECONDS = 3.0
_PATIENCE_SECONDS = 60.0
_RECONNECT: Final = [
    (f"grpc.{name}_reconnect_backoff_ms", int(_ASK_SECONDS * 1000)) for name in ("initial", "min", "max")
]


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds since the command was called, and of processor time."""

    ready: float
    executor: float
    cpu: float
    """Of all processes, those that have ended included."""


def lines(database: str, *, short: bool = False) -> Iterator[str]:
    """As JSON; `short` is small and few, to see that it works. START always has the system's own database."""
    yield from measure(1 if short else RUNS)
    with systems.started(database, systems.TASK_CODE | systems.QUIET) as bench:
        yield idle(bench, 0.0 if short else _SETTLE_SECONDS)


def measure(runs: int) -> Iterator[str]:
    """Starts and stops so often, each time with a fresh directory and once more with the same."""
    found: dict[str, list[Start]] = {"fresh": [], "again": []}
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="airscrew-bench-") as folder:
            for mode in found:
                found[mode].append(start(Path(folder)))
    for mode, starts in found.items():
        seconds = [each.executor for each in starts]
        yield json.dumps(
            {
                "workload": "START",
                "mode": mode,
                "n": 1,
                "seconds": round(statistics.median(seconds), 2),
                "ready_seconds": round(statistics.median(each.ready for each in starts), 2),
                "cpu_seconds": round(statistics.median(each.cpu for each in starts), 2),
                "best_seconds": round(min(seconds), 2),
                "worst_seconds": round(max(seconds), 2),
                "runs": runs,
                "database": "sqlite",
            }
        )


def start(folder: Path) -> Start:
    """One start, and its end."""
    port = ports.free(set())
    run_file = folder / "data" / "run.json"
    options = ["--data-dir", str(folder / "data"), "--port", str(port), *systems.task_python()]
    began = time.perf_counter()
    ready = executor = 0.0
    with (
        _running([COMMAND, "start", *options], folder) as process,
        grpc.insecure_channel(f"localhost:{port}", options=_RECONNECT) as channel,
    ):
        stub = airscrew_pb2_grpc.AirscrewStub(channel)
        while not (ready and executor):
            assert process.poll() is None, (folder / "output").read_text()
            assert time.perf_counter() - began < _PATIENCE_SECONDS, "the system does not start"
            time.sleep(_ASK_SECONDS)
            if not executor and _has_executor(stub):
                executor = time.perf_counter() - began
            if not ready and run_file.exists() and json.loads(run_file.read_text())["ready"]:
                ready = time.perf_counter() - began
        cpu = sum(map(measured.cpu_with_ended_children, _below(process.pid)))
    return Start(ready, executor, cpu)


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE_SECONDS)


def _has_executor(stub: Any) -> bool:
    try:
        return bool(stub.ListExecutors(airscrew_pb2.ListExecutorsRequest(), timeout=5).executors)
    except grpc.RpcError:
        return False


def idle(bench: Bench, settle_seconds: float) -> str:
    """What a system keeps after a task."""
    plan = workloads.register(bench.stubs, workloads.chain(1), Mode.FORK)
    client = Client(bench.stubs, "idle-")
    with client.watching():
        seconds, _ = client.run(plan)
    time.sleep(settle_seconds)
    names = {pid: name for name, pid in bench.pids.items()}
    found: dict[str, measured.Memory] = {}
    for pid in _below(bench.system.state()["pid"]):
        name = names.get(pid, Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()[-60:])
        found[name if name not in found else f"{name} ({pid})"] = measured.memory(pid)
    return json.dumps(
        {
            "workload": "IDLE",
            "mode": "fork",
            "n": 1,
            "seconds": round(seconds, 2),
            "runs": 1,
            "together_mb": {
                "pss": round(sum(each.pss for each in found.values())),
                "rss": round(sum(each.rss for each in found.values())),
            },
            "pss_mb": {name: round(each.pss, 1) for name, each in found.items()},
            "rss_mb": {name: round(each.rss, 1) for name, each in found.items()},
            "database": bench.database,
        }
    )


def _below(pid: int) -> list[int]:
    """This process and all that come from it."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="default: %(default)s")
    given = parser.parse_args()
    for line in measure(given.runs):
        print(line, flush=True)
    with systems.started("sqlite", systems.TASK_CODE | systems.QUIET) as bench:
        print(idle(bench, _SETTLE_SECONDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
