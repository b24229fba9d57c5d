"""Several shards among real neighbours: replicas share them, executors serve all of them, and what happens to one
replica's part happens to no other's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from libs.election import Presence, rendezvous
from libs.workflow.phases import ExecutionPhase
from services.propeller.settings import PropellerSettings
from services.standalone.etcd import Etcd, EtcdServer
from tests.support.graphs import Plan, Step
from tests.support.propelling import Fleet, Instant
from tests.support.waiting import until

SHARDS = 4
WIDE = Plan(tuple(Step(f"n{number}") for number in range(12)), name="wide")
TINY = Plan((Step("n0"), Step("n1", ("n0",))), name="tiny")
TASKS = len(WIDE.steps) + 1
"""Of a wide execution: the last one adds up what the others have made."""

HISTORY = """
CREATE TABLE history (id bigserial PRIMARY KEY, kind text, shard int, epoch bigint, holder text, writer text);
CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (kind, shard, epoch, holder, writer)
    SELECT 'commit', shard, epoch, holder, current_setting('application_name') FROM leadership WHERE shard = NEW.shard;
    RETURN NULL;
END $$;
CREATE TRIGGER note_commit AFTER UPDATE ON executions FOR EACH ROW EXECUTE FUNCTION note_commit();
CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (kind, shard, epoch, holder, writer)
    VALUES ('claim', NEW.shard, NEW.epoch, NEW.holder, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER note_claim AFTER UPDATE ON leadership FOR EACH ROW
    WHEN (OLD.epoch IS DISTINCT FROM NEW.epoch) EXECUTE FUNCTION note_claim();
"""


class History:
    """What the database saw of claims and commits, in the order in which they took place."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._do(HISTORY)

    def _do(self, statements: str) -> None:
        with psycopg.connect(self._url) as connection:
            connection.execute(statements)  # type: ignore[call-overload]  # constants of this module

    def close(self) -> None:
        """Leaves nothing in the database, which is another test's next."""
        self._do("DROP TABLE history; DROP FUNCTION note_commit CASCADE; DROP FUNCTION note_claim CASCADE")

    def read(self, query: str) -> list[Any]:
        with psycopg.connect(self._url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]  # constants of this module

    def holders(self) -> dict[int, str]:
        """Who claimed each shard last."""
        return dict(self.read("SELECT shard, holder FROM leadership WHERE epoch > 0"))

    def check(self) -> None:
        """No shard was led by two: only who has claimed it last writes, and epochs rise."""
        led: dict[int, tuple[int, str]] = {}
        for kind, shard, epoch, holder, writer in self.read(
            "SELECT kind, shard, epoch, holder, writer FROM history ORDER BY id"
        ):
            before = led.get(shard, (0, ""))
            if kind == "claim":
                assert epoch > before[0], f"shard {shard}: {holder} claims epoch {epoch} after {before[0]}"
                assert writer == holder
                led[shard] = epoch, writer
            else:
                assert (epoch, writer) == before, f"shard {shard}: {writer} commits while {before} leads"


def replica(url: str, number: int) -> dict[str, Any]:
    """Settings of a replica of which the database knows what it does, over whatever connection."""
    return {"database": f"{url}?application_name=propeller-{number}"}


def starts_of(*processes: Instant) -> Counter[str]:
    """How often each node of each execution was started, in whatever attempt."""
    return Counter(re.sub(r"/data/\d+$", "", start) for each in processes for start in each.starts)


@pytest.fixture
def history(postgres_url: str) -> Iterator[History]:
    found = History(postgres_url)
    yield found
    found.close()


@pytest.fixture
def own_etcd(etcd_binary: Etcd, tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd in which no other test's replicas are."""
    server = EtcdServer(etcd_binary, tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


@contextmanager
def propeller_process(settings: PropellerSettings, folder: Path) -> Iterator[Any]:
    """A replica as a process of its own, which can be killed."""
    values = dataclasses.asdict(settings) | {"etcd": ",".join(settings.etcd)}
    environment = {f"AIRSCREW_PROPELLER_{name.upper()}": str(value) for name, value in values.items() if value}
    with (folder / "propeller.log").open("wb") as log:
        child = asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.propeller", env={**os.environ, **environment}, stdout=log, stderr=log
        )
        yield child


async def test_replicas_share_the_shards_as_they_come_and_go(
    tmp_path: Path, postgres_url: str, history: History, own_etcd: EtcdServer
) -> None:
    first, second = Instant(hold=True), Instant(hold=True)
    async with Fleet(tmp_path, postgres_url, own_etcd.endpoint, SHARDS) as fleet:
        fleet.queue()
        fleet.propeller(**replica(postgres_url, 1))
        fleet.propeller(**replica(postgres_url, 2))
        third = fleet.propeller_settings(**replica(postgres_url, 3))
        fleet.executor(first, "e1", cpu_millis=12_000)
        fleet.executor(second, "e2", cpu_millis=12_000)
        await fleet.register(WIDE)
        await fleet.register(TINY)

        names = ["propeller-1", "propeller-2"]
        await until(lambda: history.holders() == rendezvous.assign(SHARDS, names), "two share the shards", 20)
        held = range(1, 9)
        await fleet.submit(WIDE, *held)
        await until(lambda: len(first.held) + len(second.held) >= 20, "the executors are full of what is held", 20)

        # A third one comes while tasks run: its part moves to it, and nothing is started anew.
        with propeller_process(third, tmp_path) as starting:
            child = await starting
            try:
                everybody = rendezvous.assign(SHARDS, [*names, "propeller-3"])
                await until(lambda: history.holders() == everybody, "the third has its part", 20)
                first.release()
                second.release()
                await fleet.until(ExecutionPhase.SUCCEEDED, *held)
                assert set(starts_of(first, second).values()) == {1}
                assert len(starts_of(first, second)) == len(held) * TASKS

                # It dies while it leads: the others take its part.
                running = range(20, 40)
                await fleet.submit(TINY, *running)
            finally:
                child.kill()
                await child.wait()
        await until(lambda: "propeller-3" not in history.holders().values(), "its shards are led by others", 20)
        await fleet.until(ExecutionPhase.SUCCEEDED, *running)
        assert history.holders() == rendezvous.assign(SHARDS, names)
        assert set(starts_of(first, second).values()) == {1}
        async with Presence([own_etcd.endpoint], replica="observer", address="") as observer:
            survey = await observer.look()
        assert {shard: leader.holder for shard, leader in survey.leaders.items()} == history.holders()
    history.check()


async def test_two_leaders_share_an_executor_and_neither_starves(
    tmp_path: Path, postgres_url: str, history: History, own_etcd: EtcdServer
) -> None:
    processes = Instant()
    async with Fleet(tmp_path, postgres_url, own_etcd.endpoint, 2) as fleet:
        fleet.queue()
        fleet.propeller(**replica(postgres_url, 1))
        fleet.propeller(**replica(postgres_url, 2))
        fleet.executor(processes, cpu_millis=2_000)
        await fleet.register(WIDE)
        await until(lambda: len(set(history.holders().values())) == 2, "each leads one", 20)
        keys = range(1, 13)
        await fleet.submit(WIDE, *keys)
        await fleet.until(ExecutionPhase.SUCCEEDED, *keys, timeout_seconds=60.0)
        assert set(starts_of(processes).values()) == {1}
        rejected = history.read("SELECT count(*) FROM attempts WHERE attempt > 0")[0][0]
        assert rejected < len(keys) * TASKS / 4, "leaders keep to their offers"
    history.check()


async def test_on_sqlite_one_propeller_leads_all_shards(tmp_path: Path, sqlite_url: str, own_etcd: EtcdServer) -> None:
    async with Fleet(tmp_path, sqlite_url, own_etcd.endpoint, 3) as fleet:
        fleet.queue()
        fleet.propeller()
        processes = Instant()
        fleet.executor(processes, cpu_millis=4_000)
        await fleet.register(WIDE)
        keys = range(1, 7)
        await fleet.submit(WIDE, *keys)
        await fleet.until(ExecutionPhase.SUCCEEDED, *keys, timeout_seconds=60.0)
        assert set(starts_of(processes).values()) == {1}
