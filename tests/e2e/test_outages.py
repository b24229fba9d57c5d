"""The database goes away for ten seconds in the middle, or refuses one row.

Both kinds of database go through the same story: SQLite's file is locked by another connection, PostgreSQL is stopped
and started again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

import grpc
import psycopg
import pytest
from flyteidl.core import identifier_pb2 as identifier

from tests.support import executions, flyte, smalltasks
from tests.support.markers import Markers
from tests.support.postgres import PostgresServer
from tests.support.smalltasks import Registrar
from tests.support.system import System

AWAY_SECONDS = 10.0
LANES = 6
LENGTH = 5

pytestmark = pytest.mark.timeout(180)

_LEASE = "SELECT create_revision FROM leadership WHERE shard = 0"
_SQLITE_TRIGGER = """
CREATE TRIGGER refuse_poisoned BEFORE INSERT ON attempts
WHEN NEW.execution_key IN (SELECT key FROM executions WHERE name = 'poisoned')
BEGIN SELECT RAISE(ABORT, 'poisoned row'); END
"""
_POSTGRES_TRIGGER = """
CREATE FUNCTION refuse_poisoned() RETURNS trigger AS $$
BEGIN
    IF NEW.execution_key IN (SELECT key FROM executions WHERE name = 'poisoned') THEN
        RAISE EXCEPTION 'poisoned row' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER refuse_poisoned BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION refuse_poisoned();
"""


@dataclass(frozen=True)
class Setting:
    """A system, and the two things that can be done to its database."""

    registrar: Registrar
    away: Callable[[], AbstractContextManager[None]]
    """Inside, the database takes no write."""
    refuse: Callable[[], None]
    """From now on, the database refuses every attempt of the execution `poisoned`."""
    lease: Callable[[], int]
    """Revision at which the shard's leader was elected: rises when leadership is lost and won again."""


@pytest.fixture(scope="module")
def sqlite_setting(fragile_system: System, fragile: Registrar) -> Iterator[Setting]:
    file = fragile_system.database_file

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def run(script: str) -> None:
        with closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as connection:
            connection.execute(script)

    def lease() -> int:
        with closing(sqlite3.connect(file, timeout=5)) as connection:
            return int(connection.execute(_LEASE).fetchone()[0])

    yield Setting(fragile, locked, lambda: run(_SQLITE_TRIGGER), lease)
    with contextlib.suppress(sqlite3.OperationalError):
        run("DROP TRIGGER refuse_poisoned")


@pytest.fixture(scope="module")
def postgres_setting(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    url = postgres_server.create_database()

    @contextmanager
    def stopped() -> Iterator[None]:
        postgres_server.stop()
        try:
            yield
        finally:
            postgres_server.start()

    def refuse() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_POSTGRES_TRIGGER)

    def lease() -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(_LEASE).fetchone()
            assert row is not None
            return int(row[0])

    environment = smalltasks.settings(tmp_path_factory.mktemp("small"), slots=64)
    with System.start(tmp_path_factory.mktemp("on-postgres"), database=url, environment=environment) as system:
        client = flyte.Client(system.endpoint, tmp_path_factory.mktemp("home"))
        with client.stubs() as stubs:
            yield Setting(Registrar(stubs), stopped, refuse, lease)


@pytest.fixture(params=["sqlite_setting", "postgres_setting"])
def setting(request: pytest.FixtureRequest) -> Setting:
    found: Setting = request.getfixturevalue(request.param)
    return found


def test_an_outage_of_the_database_delays_work_and_neither_loses_nor_repeats_any(
    setting: Setting, fragile_markers: Markers
) -> None:
    registrar = setting.registrar
    task = registrar.marking_task("patient", fragile_markers.path, seconds=2)
    plan = registrar.lanes("patient", task, lanes=LANES, length=LENGTH)
    names = [f"patient-{time.time_ns()}-{number}" for number in range(2)]
    running = registrar.launch(plan, names[0])
    fragile_markers.wait(lambda: len(fragile_markers.starts(running.name)) >= LANES)
    lease = setting.lease()
    with setting.away():
        went = time.monotonic()
        refusals = _submit_until(registrar, plan, names[1], went + AWAY_SECONDS)
        ended, started = fragile_markers.ends(running.name), fragile_markers.starts(running.name)
    assert refusals, "nothing was submitted during the outage"
    assert set(refusals) == {grpc.StatusCode.UNAVAILABLE}
    assert len(ended) == LANES, "tasks that were running run on"
    assert len(started) == LANES, "nothing starts that is not durable"

    late = _launch_eventually(registrar, plan, names[1])
    executions.succeed(registrar, running, late, timeout_seconds=90)
    for launched in (running, late):
        starts = fragile_markers.starts(launched.name)
        assert fragile_markers.started_twice(launched.name) == []
        assert len(starts) == LANES * LENGTH
        assert {start.attempt for start in starts} == {0}
    assert setting.lease() == lease, "the lease is kept"


def test_a_row_that_the_database_refuses_quarantines_its_execution_and_no_other(
    setting: Setting, fragile_markers: Markers
) -> None:
    registrar = setting.registrar
    task = registrar.marking_task("neighbour", fragile_markers.path, seconds=0)
    plan = registrar.lanes("neighbour", task, lanes=3)
    setting.refuse()

    poisoned = registrar.launch(plan, "poisoned")
    healthy = [registrar.launch(plan, f"healthy-{number}") for number in range(8)]

    executions.succeed(registrar, *healthy)
    ended = executions.end(registrar, poisoned)
    assert ended.closure.phase == executions.FAILED
    assert ended.closure.error.code == "Quarantined"
    assert "poisoned row" in ended.closure.error.message
    assert fragile_markers.starts("poisoned") == []


def _submit_until(
    registrar: Registrar, plan: identifier.Identifier, name: str, deadline: float
) -> Sequence[grpc.StatusCode]:
    """Tries to submit about once a second until the deadline; the statuses it got."""
    statuses = []
    while time.monotonic() < deadline:
        try:
            registrar.launch(plan, name)
            statuses.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            statuses.append(error.code())
        time.sleep(1)
    return statuses


def _launch_eventually(
    registrar: Registrar, plan: identifier.Identifier, name: str, timeout_seconds: float = 15.0
) -> identifier.WorkflowExecutionIdentifier:
    """Repeats a submission until it is taken, as any client may: the name makes that safe. UNAVAILABLE leaves it open
    whether the execution was stored, so ALREADY_EXISTS is success too."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return registrar.launch(plan, name)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return registrar.execution_id(name)
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
