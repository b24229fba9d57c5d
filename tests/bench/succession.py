"""How long it takes from the end of a leader to the first commit of the next one, with real processes under load.

A system with three propellers on PostgreSQL leads many live executions, and new ones come all the time, so that what
ends the leader meets it in any statement. Then it is stopped in order, killed, or made to stand still, time and again.
All times are of one machine's clock: when the signal was sent, and when the next leader says that it has committed.

    make succession ARGS="[--executions 10000] [--rounds 20] [--only kill]"
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from libs.clients.propeller import Propellers
from libs.clients.queue import Enqueuer, Key, Reason
from libs.store import clusters
from libs.store.engine import open_async
from libs.store.executions import Executions
from libs.store.ledger import Ledger
from libs.store.records import ExecutionRecord, LeaderRow
from tests.bench import takeover
from tests.support.graphs import state_of
from tests.support.postgres import PostgresServer
from tests.support.system import System

TTL_SECONDS = 5
PAUSE_SECONDS = 0.03
"""Between two new executions: often enough that there is always something to commit."""
LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 60.0
LIMITS = {"stop": 1.0, "kill": TTL_SECONDS + 2.0, "freeze": TTL_SECONDS + 2.0}
"""What each may take: stopped in order, killed, standing still."""
_SIGNALS = {"stop": signal.SIGTERM, "kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Succession:
    """Seconds since the leader was ended."""

    claimed: float
    committed: float
    warm: float


class Bench:
    """The running system, and what is done to it."""

    def __init__(self, system: System, database: str, propellers: Propellers, dice: random.Random) -> None:
        self._system = system
        self._ledger = Ledger(database)
        self._propellers = propellers
        self._dice = dice

    async def ready(self) -> None:
        """Returns when all processes run and the leader has everything in memory."""
        self._system.wait_until(
            lambda state: all(process["state"] == "ready" for process in state["processes"].values()), 60, "not ready"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._warm():
                await asyncio.sleep(0.05)

    async def end(self, how: str) -> Succession:
        """Ends the leader. Returns when the next one has everything in memory."""
        await self.ready()
        await asyncio.sleep(self._dice.uniform(0.0, 1.0))
        leader = self._leader()
        pid = self._system.pid(leader.holder)
        began_us = time.time_ns() // 1000
        os.kill(pid, _SIGNALS[how])
        try:
            return await self._succeeded(leader, began_us)
        finally:
            if how == "freeze":
                os.kill(pid, signal.SIGCONT)

    async def _succeeded(self, leader: LeaderRow, began_us: int) -> Succession:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := self._leader()).create_revision == leader.create_revision:
                await asyncio.sleep(LOOK_SECONDS)
            while True:
                status = await self._propellers.status(found.address, 0, [])
                if status is not None and status.first_commit_us and status.synced_us:
                    moments = (status.began_us, status.first_commit_us, status.synced_us)
                    return Succession(*((at_us - began_us) / 1e6 for at_us in moments))
                await asyncio.sleep(LOOK_SECONDS)

    async def _warm(self) -> bool:
        found = self._ledger.leader(0)
        status = found and await self._propellers.status(found.address, 0, [])
        return bool(status and status.leading and status.synced_us)

    def _leader(self) -> LeaderRow:
        found = self._ledger.leader(0)
        assert found is not None
        return found


async def _submit(database: str, queue: str, keys: Iterator[int]) -> None:
    """Accepts executions as `admin` would, one after the other, for ever."""
    engine = open_async(database)
    executions = Executions(engine)
    try:
        async with Enqueuer(queue) as enqueuer:
            for key in keys:
                await executions.create(ExecutionRecord(state_of(takeover.PLAN, key=key), 3, 0))
                enqueuer.enqueue(Key(key, 0, "p", reasons=Reason.SUBMITTED))
                await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await executions.close()
        await engine.dispose()


@asynccontextmanager
async def bench(database: str, folder: Path, executions: int, dice: random.Random) -> AsyncIterator[Bench]:
    """A system that leads so many executions, under load. Their attempts belong to an executor that is away."""
    await takeover.prepare(database, executions)
    await asyncio.to_thread(clusters.retire, database, takeover.CLUSTER)
    environment = {
        "AIRSCREW_PROPELLER_LEASE_TTL_SECONDS": str(TTL_SECONDS),
        "AIRSCREW_PROPELLER_EXECUTOR_GRACE_SECONDS": "36000",
        "AIRSCREW_EXECUTOR_CPU_MILLIS": "1",  # it runs nothing, so all processor time is for those who are measured
    }
    with System.start(folder, database=database, propellers=3, environment=environment) as system:
        queue = system.state()["processes"]["queue"]["address"]
        load = asyncio.create_task(_submit(database, queue, count(executions + 1)), name="load")
        try:
            async with Propellers() as propellers:
                yield Bench(system, database, propellers, dice)
        finally:
            load.cancel()
            await asyncio.wait([load])


async def run(database: str, folder: Path, executions: int, rounds: int, hows: list[str], seed: int) -> bool:
    """Prints what was measured; whether all of it is within the limits."""
    good = True
    async with bench(database, folder, executions, random.Random(seed)) as made:
        for how in hows:
            measured = [await made.end(how) for _ in range(rounds)]
            commits = sorted(each.committed for each in measured)
            share = sum(seconds < LIMITS[how] for seconds in commits) / rounds
            good = good and share == 1
            print(
                f"{how}: {rounds} times, {executions} executions: first commit after p50 {commits[rounds // 2]:.2f} s,"
                f" p99 {commits[min(rounds - 1, int(rounds * 0.99))]:.2f} s, most {commits[-1]:.2f} s"
                f" (limit {LIMITS[how]:g} s); from claim to first commit at most"
                f" {max(each.committed - each.claimed for each in measured):.2f} s, to all warm at most"
                f" {max(each.warm - each.claimed for each in measured):.2f} s",
                flush=True,
            )
    return good


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    folder.chmod(0o755)  # the server may have to run as somebody else
    server = PostgresServer(folder)
    server.start()
    try:
        yield server.create_database()
    finally:
        server.stop()


def main() -> int:
    """1 when something took longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=list(LIMITS))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    hows = [given.only] if given.only else list(LIMITS)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as place, _database(Path(place)) as url:
        good = asyncio.run(run(url, Path(folder), given.executions, given.rounds, hows, given.seed))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
