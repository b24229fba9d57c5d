"""10,000 live executions that wait, a gate each: what they cost who leads them, and how fast one goes on.

The whole system runs as `airscrew start` runs it. When all wait, all processes are left alone: `idle_cpu_percent` is
the part of one core that they take then, by process. Then signals are given, one after the other: `p50_ms` is the time
from the call that gives one until the client knows from its watch stream that the execution has succeeded.

    python -m tests.bench.waiting [--executions 10000] [--signals 50] [--idle 30] [--database postgres]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator

from flyteidl.admin import signal_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import text

from libs.store.engine import open_async
from tests.bench import bulk, measured, systems, workloads
from tests.bench.client import Client
from tests.bench.systems import Bench
from tests.bench.workloads import Mode
from tests.support.flytetypes import value

EXECUTIONS = 10_000
SIGNALS = 50
IDLE_SECONDS = 30.0
BATCH = "waits"
_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 110.0


def lines(database: str, *, short: bool = False) -> Iterator[str]:
    """As JSON; `short` is small and few, to see that it works."""
    with systems.started(database) as bench:
        yield measure(bench, 20, 3, 0.5) if short else measure(bench, EXECUTIONS, SIGNALS, IDLE_SECONDS)


def measure(bench: Bench, executions: int, signals: int, idle_seconds: float) -> str:
    plan = workloads.register(bench.stubs, workloads.gated(), Mode.ENGINE)
    before = measured.memory(bench.pids["propeller"])
    began = time.perf_counter()
    names = asyncio.run(_submit(bench, plan, executions))
    seconds = time.perf_counter() - began
    used = measured.cpu_seconds(bench.pids)
    time.sleep(idle_seconds)
    idle = {name: (after - used[name]) / idle_seconds for name, after in measured.cpu_seconds(bench.pids).items()}
    waiting = measured.memory(bench.pids["propeller"])
    client = Client(bench.stubs, "")
    with client.watching():
        tries = sorted(_signal(bench, client, name) for name in names[:signals])
    return json.dumps(
        {
            "workload": "WAIT",
            "mode": "engine",
            "n": executions,
            "seconds": round(seconds, 2),
            "runs": signals,
            "p50_ms": round(statistics.median(tries) * 1000, 2),
            "best_ms": round(tries[0] * 1000, 2),
            "worst_ms": round(tries[-1] * 1000, 2),
            "propeller_mb": {"rss": round(waiting.rss), "pss": round(waiting.pss), "peak": round(waiting.peak)},
            "propeller_mb_before": {"rss": round(before.rss), "pss": round(before.pss)},
            "idle_cpu_percent": {name: round(share * 100, 2) for name, share in idle.items()},
            "idle_cpu_percent_together": round(sum(idle.values()) * 100, 2),
            "database": bench.database,
        }
    )


async def _submit(bench: Bench, plan: identifier_pb2.Identifier, executions: int) -> list[str]:
    """Returns when all of them wait for their signal, with their names."""
    await bulk.submit(bench.system.endpoint, plan, BATCH, executions)
    engine = open_async(bench.url)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                async with engine.connect() as connection:
                    if (await connection.execute(text("SELECT count(*) FROM signals"))).scalar_one() >= executions:
                        return list((await connection.execute(text("SELECT name FROM executions"))).scalars())
                await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await engine.dispose()


def _signal(bench: Bench, client: Client, name: str) -> float:
    """Seconds from the signal until the client knows that the execution has succeeded."""
    id = identifier_pb2.SignalIdentifier(signal_id=workloads.SIGNAL, execution_id=client.id(name))
    with client.patience():
        began = time.perf_counter()
        bench.stubs.signal.SetSignal(signal_pb2.SignalSetRequest(id=id, value=value(1)), timeout=30)
        client.outputs([name])
        return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="default: %(default)s")
    parser.add_argument("--signals", type=int, default=SIGNALS, help="default: %(default)s")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds, default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    given = parser.parse_args()
    with systems.started(given.database) as bench:
        print(measure(bench, given.executions, given.signals, given.idle))
    return 0


if __name__ == "__main__":
    sys.exit(main())
