"""How long the garbage collector takes for 10,000 finished executions, and what it costs who commits meanwhile.

`python -m tests.bench.garbage [EXECUTIONS]`: executions of two nodes with attempts, story and blobs in a directory, on
SQLite. A leader commits a turn every 5 ms, first alone and then beside the collector.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

from libs import blob
from libs.store import migrate
from libs.store.engine import open_async
from libs.store.ledger import Ledger
from services.propeller.settings import PropellerSettings
from tests.support import stored
from tests.support.garbage import PROJECT, Counting, Yard

PAUSE_SECONDS = 0.005
ALONE_SECONDS = 5.0


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/airscrew.db"
        migrate.upgrade(url)
        engine = open_async(url)
        yard = await Yard(url, engine, blob.open(f"{folder}/blobs")).open(PROJECT)
        began = time.perf_counter()
        await yard.add_many(count, 40, nodes=2, blobs=True)
        print(f"{count} executions made in {time.perf_counter() - began:.1f} s")

        alone = await _commits(yard, asyncio.create_task(asyncio.sleep(ALONE_SECONDS)))
        print(f"a leader that is alone: {_quantiles(alone)}")
        rows = PropellerSettings("", "", "", (), "").collect_rows
        counting = Counting(url)
        began = time.perf_counter()
        collecting = asyncio.create_task(yard.collector(rows=rows, open_garbage=lambda: counting).collect())
        beside = await _commits(yard, collecting)
        seconds = time.perf_counter() - began
        done = collecting.result()
        print(f"a leader beside the collector: {_quantiles(beside)}")
        print(
            f"{done.executions} executions, {done.rows} rows, {done.usage.blobs} blobs collected in {seconds:.1f} s "
            f"({done.executions / seconds:.0f} a second)"
        )
        print(
            f"{len(counting.rows)} transactions, the largest of {max(counting.rows)} rows (allowed: {rows}), "
            f"the longest {max(counting.seconds) * 1000:.0f} ms"
        )
        await yard.close()
        await engine.dispose()


async def _commits(yard: Yard, until: asyncio.Task[object]) -> list[float]:
    """How long commits take, until something has ended."""
    state = await yard.begin(f"live{time.time_ns()}")
    ledger, taken = Ledger(yard.url), list[float]()
    while not until.done():
        began = time.perf_counter()
        await asyncio.to_thread(ledger.commit, 0, yard.epoch, [stored.running(state)])
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE_SECONDS)
    ledger.close()
    return sorted(taken)


def _quantiles(taken: list[float]) -> str:
    ranks = {"median": 0.5, "p99": 0.99, "longest": 1.0}
    shown = [
        f"{name} {taken[min(len(taken) - 1, int(len(taken) * rank))] * 1000:.1f} ms" for name, rank in ranks.items()
    ]
    return f"{len(taken)} commits, {', '.join(shown)}"


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
