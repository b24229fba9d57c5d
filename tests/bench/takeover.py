"""How long a new leader takes to take over many live executions: until its first commit, and until all are warm.

The store is real, in the state in which a leader dies: executions have an attempt that runs, and some have just been
accepted and have had no turn. The term is that of the service; the one executor connects at once with everything that
it runs.

    python -m tests.bench.takeover [--executions 10000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs import blob
from libs.runtime.clock import SystemClock
from libs.store import migrate
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.records import ExecutionRecord, WorkflowRecord
from libs.store.registry import Registry
from libs.telemetry.traces import Tracing
from libs.wire.session import Hello, Report, ReportPhase
from libs.workflow.errors import Unavailable
from libs.workflow.graph import build
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Stepper, new_execution
from libs.workflow.machine import messages as m
from libs.workflow.quantities import Slots
from libs.workflow.state import Changes
from services.propeller.ends import Ends
from services.propeller.settings import PropellerSettings
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.term import Term
from tests.support.graphs import Plan, Step, closure_of, state_of
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

PLAN = Plan((Step("n0"), Step("n1", ("n0",)), Step("n2", ("n1",))))
FRESH = 100
"""So many have just been accepted when a leader begins."""
BATCH = 500
EXECUTOR, LIFE = "e1", "e1-1"
CLUSTER = "bench"


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Seconds since the claim began."""

    first_commit: float
    warm: float
    cold: int
    """Executions that had had no turn when the first commit was made."""


class _Observed(Ledger):
    """Calls after every commit."""

    def __init__(self, url: str, committed: Callable[[], None]) -> None:
        super().__init__(url)
        self._committed = committed

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        super().commit(shard, epoch, batch)
        self._committed()

    async def commit_on_loop(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool:
        done = await super().commit_on_loop(shard, epoch, batch)
        if done:
            self._committed()
        return done


async def prepare(database: str, count: int) -> list[AttemptId]:
    """Fills a fresh database. Returns the attempts that run."""
    engine = open_async(database)
    closure = closure_of(PLAN)
    record = WorkflowRecord(state_of(PLAN).workflow, b"digest", b"", closure.SerializeToString(), 1)
    await Registry(engine).create_workflow(record)
    await engine.dispose()
    await accept(database, range(1, count + 1))
    return await asyncio.to_thread(_run, database, range(1, count + 1))


async def accept(database: str, keys: Sequence[int]) -> None:
    """As `admin` would."""
    engine = open_async(database)
    executions = Executions(engine)
    for first in range(0, len(keys), BATCH):
        records = (ExecutionRecord(state_of(PLAN, key=key), 3, 0) for key in keys[first : first + BATCH])
        await asyncio.gather(*map(executions.create, records))
    await executions.close()
    await engine.dispose()


def _run(database: str, keys: Sequence[int]) -> list[AttemptId]:
    """What a former leader has done: everything runs."""
    graph = build(closure_of(PLAN))
    stepper = Stepper()
    former = Ledger(database)
    epoch = former.claim(0, CLUSTER, 1, "former", "nowhere", 1)
    for first in range(0, len(keys), BATCH):
        batch = []
        for key in keys[first : first + BATCH]:
            execution = new_execution(state_of(PLAN, key=key), graph)
            turn = stepper.step(execution, [m.IntentRead(execution.state.intent)], 1)
            stepper.step(execution, [m.Placed("n0", 0, EXECUTOR, LIFE, "log")], 2, turn)
            stepper.step(execution, [m.Started("n0", 0, EXECUTOR, 2, 1)], 3, turn)
            batch.append(turn.changes)
        while True:
            try:
                former.commit(0, epoch, batch)
                break
            except Unavailable:  # a busy machine: the next try has longer
                epoch = former.renew(0)
    former.close()
    return [AttemptId(key, "n0", 0) for key in keys]


async def measure(database: str, running: Sequence[AttemptId], number: int, folder: Path) -> TakeOver:
    """A new leader takes over, and gives up again without a word to the executor."""
    commits: list[tuple[float, int]] = []
    clock = SystemClock()
    store = LeaderStore(
        lambda: _Observed(database, lambda: commits.append((time.monotonic() - began, term.take_over.cold)))
    )
    began = time.monotonic()
    epoch = await store.claim(0, CLUSTER, number, f"leader-{number}", "nowhere", clock.now_us())
    term = Term(
        shard=0,
        epoch=epoch,
        settings=PropellerSettings("", "", "", (), ""),
        store=store,
        blob=blob.open(str(folder)),
        feed=lambda shard, epoch: None,
        ends=Ends(None),
        clock=clock,
        spans=Spans(Tracing()),
        leading=lambda: True,
    )
    lost = asyncio.Event()
    leading = asyncio.create_task(term.lead(lost, asyncio.Event()))
    snapshot = tuple(Report(id, 2, ReportPhase.RUNNING, clock.now_us()) for id in running)
    capacity = Slots(1000 * 2 * len(running), 2 * len(running) << 30, 0)
    session = term.sessions.open(Hello(EXECUTOR, LIFE, capacity, snapshot, 0, {}, "bench"))
    await until(lambda: term.take_over.synced, "all warm", 120)
    warm = time.monotonic() - began
    term.sessions.close(session)
    lost.set()
    await leading
    await store.close()
    first_commit, cold = commits[0]
    return TakeOver(first_commit, warm, cold)


async def take_over(database: str, count: int, rounds: int) -> list[TakeOver]:
    """As often as wanted, on a database that is fresh and migrated."""
    running = await prepare(database, count)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            first = count + 1 + number * FRESH
            await accept(database, range(first, first + FRESH))
            measured.append(await measure(database, running, number + 2, Path(folder)))
    return measured


@contextmanager
def _databases(folder: Path) -> Iterator[dict[str, str]]:
    """A fresh one of each kind."""
    sqlite = f"sqlite:///{folder / 'airscrew.db'}"
    migrate.upgrade(sqlite)
    (folder / "postgres").mkdir()
    folder.chmod(0o755)  # the server may have to run as somebody else
    server = PostgresServer(folder / "postgres")
    server.start()
    try:
        yield {"SQLite": sqlite, "PostgreSQL": server.create_database()}
    finally:
        server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as databases:
        for kind, database in databases.items():
            for round_ in asyncio.run(take_over(database, options.executions, options.rounds)):
                print(f"{kind}: {options.executions} executions, first commit {round_.first_commit:.2f} s, ", end="")
                print(f"all warm {round_.warm:.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
