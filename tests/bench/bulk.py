"""How many executions a second are submitted in bulk, durably, and how many workflows of one echo task end meanwhile.

The whole system runs as `airscrew start` runs it; the client is `libs.clients.bulk`, as `airscrew submit` uses it, in a
process of its own. `submit` counts until the last acknowledgement, `end` until the last execution has succeeded;
`ended_during_submit_per_s` is what ended a second while there was still something to be submitted. Mode `engine`
submits as fast as it goes, `steady` half as much as the goal is, no faster, and `paused` is the submission alone:
nothing begins meanwhile.

    python -m tests.bench.bulk [--executions 50000] [--runs 2] [--database postgres]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flyteidl.admin import execution_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.clients.bulk import Bulk, Outcome, Portion
from libs.rpc import channel
from libs.store.engine import open_async
from libs.store.schema import EXECUTION_IS_LIVE
from protos import queue_pb2
from tests.bench import databases, workloads
from tests.bench.measured import cpu_seconds
from tests.bench.workloads import Mode
from tests.support import flyte
from tests.support.flytetypes import value
from tests.support.system import System

_EXECUTIONS = 50_000
_RUNS = 2
_PORTION = 500
_STEADY_PER_S = 8_333.0
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 110.0


class _Seen(NamedTuple):
    at: float
    ended: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    submit_seconds: float
    end_seconds: float | None
    """None when not all had ended after `_PATIENCE_SECONDS`."""
    ended_per_s: float
    """In the time in which they were watched."""
    ended_during_submit_per_s: float
    cpu_us: dict[str, float]


async def submit(
    endpoint: str, plan: identifier_pb2.Identifier, batch: str, number: int, per_s: float = math.inf
) -> None:
    """All of them, durable when this returns, not more than `per_s` a second."""
    common = execution_pb2.ExecutionCreateRequest(project=flyte.PROJECT, domain=flyte.DOMAIN)
    common.spec.launch_plan.CopyFrom(plan)
    portions: asyncio.Queue[Portion | None] = asyncio.Queue(4)
    given = literals_pb2.LiteralMap(literals={"x": value(7)})
    began = time.perf_counter()

    async def offer() -> None:
        for first in range(0, number, _PORTION):
            await asyncio.sleep(max(0.0, began + first / per_s - time.perf_counter()))
            await portions.put(Portion(first, [given] * min(_PORTION, number - first)))
        await portions.put(None)

    async with channel.connect(endpoint) as connection:
        offering = asyncio.create_task(offer(), name="offer")
        async for _, results in Bulk(connection, common, batch).submit(portions):
            assert all(result.outcome is Outcome.CREATED for result in results), results[:3]
        await offering


async def run(
    system: System, plan: identifier_pb2.Identifier, url: str, batch: str, number: int, per_s: float = math.inf
) -> Run:
    """One run, in which not more than `per_s` a second are submitted."""
    pids = {name: int(process["pid"]) for name, process in system.state()["processes"].items()}
    engine = open_async(url)
    before, began = cpu_seconds(pids), time.perf_counter()
    already = await _ended(engine)
    seen: list[_Seen] = []
    submitting = asyncio.create_task(submit(system.endpoint, plan, batch, number, per_s), name="submit")
    submitted: float | None = None
    ended = 0
    while ended < number and time.perf_counter() - began < _PATIENCE_SECONDS:
        await asyncio.wait((submitting,), timeout=_LOOK_SECONDS) if submitted is None else await asyncio.sleep(
            _LOOK_SECONDS
        )
        if submitted is None and submitting.done():
            submitting.result()
            submitted = time.perf_counter() - began
        ended = await _ended(engine) - already
        seen.append(_Seen(time.perf_counter() - began, ended))
    await submitting
    await engine.dispose()
    assert submitted is not None
    used = {name: (after - before[name]) / number * 1e6 for name, after in cpu_seconds(pids).items()}
    last_during = max((each for each in seen if each.at <= submitted + _LOOK_SECONDS), default=seen[0])
    last = seen[-1]
    return Run(
        submitted, last.at if ended >= number else None, last.ended / last.at, last_during.ended / last_during.at, used
    )


async def _ended(engine: AsyncEngine) -> int:
    """All without those that live, which are counted by indices: to look at each row took a tenth of a core."""
    count = "SELECT count(*) FROM executions"
    async with engine.connect() as connection:
        found = await connection.execute(text(f"SELECT ({count}) - ({count} WHERE {EXECUTION_IS_LIVE})"))
        return int(found.scalar_one())


def result(mode: str, database: str, number: int, runs: list[Run]) -> str:
    """Medians of the runs, as JSON."""
    seconds = statistics.median(each.submit_seconds for each in runs)
    ends = [each.end_seconds for each in runs if each.end_seconds is not None]
    return json.dumps(
        {
            "workload": "BULK",
            "mode": mode,
            "n": number,
            "seconds": round(seconds, 3),
            "tasks_per_s": round(number / seconds),
            "fastest_per_s": round(number / min(each.submit_seconds for each in runs)),
            "ended_during_submit_per_s": round(statistics.median(each.ended_during_submit_per_s for each in runs)),
            "ended_per_s": round(statistics.median(each.ended_per_s for each in runs)),
            "all_ended_seconds": round(statistics.median(ends), 2) if ends else None,
            "runs": len(runs),
            "database": database,
            "cpu_us_per_task": {
                name: round(statistics.median(each.cpu_us[name] for each in runs), 1) for name in runs[0].cpu_us
            },
        }
    )


def lines(database: str, *, short: bool = False) -> Iterator[str]:
    """As JSON; `short` is small and few, to see that it works."""
    yield from measure(database, 200, 1) if short else measure(database, _EXECUTIONS, _RUNS)


def measure(database: str, number: int, runs: int) -> Iterator[str]:
    """Several runs with one system."""
    with (
        tempfile.TemporaryDirectory(prefix="airscrew-bench-") as folder,
        databases.opened(database, Path(folder)) as url,
    ):
        environment = {"AIRSCREW_LOG_LEVEL": "warning"}
        with (
            System.start(Path(folder) / "system", database=url, environment=environment) as system,
            flyte.Client(system.endpoint, Path(folder) / "home").stubs() as stubs,
        ):
            plan = workloads.register(stubs, workloads.chain(1), Mode.ENGINE)
            where = url or f"sqlite:///{system.database_file}"
            asyncio.run(run(system, plan, where, "warm", min(1000, number)))
            for mode, per_s in (("engine", math.inf), ("steady", _STEADY_PER_S)):
                done = [asyncio.run(run(system, plan, where, f"{mode}-{n}", number, per_s)) for n in range(runs)]
                yield result(mode, database, number, done)
            yield submitted_alone(system, stubs, plan, database, number)


def submitted_alone(
    system: System, stubs: flyte.Stubs, plan: identifier_pb2.Identifier, database: str, number: int
) -> str:
    """What `admin` can take when nothing begins meanwhile: the queue is paused."""
    stubs.airscrew.PauseQueue(queue_pb2.PauseRequest(ttl_us=600_000_000), timeout=10)
    pids = {name: int(process["pid"]) for name, process in system.state()["processes"].items()}
    before, began = cpu_seconds(pids), time.perf_counter()
    asyncio.run(submit(system.endpoint, plan, "alone", number))
    seconds = time.perf_counter() - began
    used = {name: (after - before[name]) / number * 1e6 for name, after in cpu_seconds(pids).items()}
    shown = {"workload": "BULK", "mode": "paused", "n": number, "seconds": round(seconds, 3)}
    shown |= {"tasks_per_s": round(number / seconds), "runs": 1, "database": database}
    return json.dumps(shown | {"cpu_us_per_task": {name: round(each, 1) for name, each in used.items()}})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=_EXECUTIONS, help="of one run, default: %(default)s")
    parser.add_argument("--runs", type=int, default=_RUNS, help="default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    given = parser.parse_args()
    for line in measure(given.database, given.executions, given.runs):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
