"""Task lists become executions exactly, whatever is killed: real processes, a real Redis, real admin and database."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flyteidl.core import literals_pb2

from libs.workflow.intake import Kind
from protos import airscrew_pb2, intake_pb2
from services.standalone import ports
from tests.support import flyte
from tests.support.admin import Door, door
from tests.support.intakes import KEY, push
from tests.support.redis import RedisServer
from tests.support.sums import register, sums

pytestmark = pytest.mark.timeout(120)

ITEMS = 400
SECONDS = 60.0


class QueueService:
    """`python -m services.queue` that takes in, with a short lease."""

    def __init__(self, folder: Path, admin: str) -> None:
        self._log = folder / "queue.log"
        self._environ = os.environ | {
            "AIRSCREW_QUEUE_LISTEN": f"127.0.0.1:{ports.free(set())}",
            "AIRSCREW_QUEUE_ADMIN": admin,
            "AIRSCREW_QUEUE_INTAKE_LEASE_SECONDS": "1",
            "AIRSCREW_LOG_FORMAT": "text",
        }
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "services.queue"], env=self._environ, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def admin(sqlite_url: str, tmp_path: Path) -> Iterator[Door]:
    """A front door with `sums` registered."""
    with door(sqlite_url, tmp_path) as opened:
        register(flyte.Client(opened.endpoint, tmp_path / "home").remote())
        yield opened


@pytest.fixture
def stubs(admin: Door, tmp_path: Path) -> Iterator[flyte.Stubs]:
    with flyte.Client(admin.endpoint, tmp_path / "home").stubs() as stubs:
        yield stubs


@pytest.fixture
def service(admin: Door, tmp_path: Path) -> Iterator[QueueService]:
    started = QueueService(tmp_path, admin.endpoint)
    yield started
    started.kill()


def add(stubs: flyte.Stubs, redis_server: RedisServer, kind: Kind, limit: int = 10_000) -> intake_pb2.Intake:
    asked = intake_pb2.Intake(
        id=intake_pb2.IntakeId(project=flyte.PROJECT, domain=flyte.DOMAIN, name=KEY),
        source=redis_server.source(KEY),
        kind=intake_pb2.KIND_LIST if kind is Kind.LIST else intake_pb2.KIND_STREAM,
        codec=intake_pb2.CODEC_JSON,
        limit=limit,
    )
    asked.launch_plan.name = sums.name
    added: intake_pb2.Intake = stubs.airscrew.AddIntake(airscrew_pb2.AddIntakeRequest(intake=asked))
    assert added.launch_plan.version == "v1"
    return added


def xs(admin: Door) -> list[int]:
    """What the executions in the database were given."""
    with sqlite3.connect(admin.database_url.removeprefix("sqlite:///")) as database:
        found = database.execute("SELECT inputs_inline FROM executions").fetchall()
    maps = (literals_pb2.LiteralMap.FromString(inputs) for (inputs,) in found)
    return sorted(one.literals["x"].scalar.primitive.integer for one in maps)


def taking_in(redis_server: RedisServer) -> int | None:
    """Process id of the service that takes in; None while nobody does, as when a busy machine lets a lease run out."""
    for key in redis_server.client.keys("airscrew:*:runner"):
        if (runner := redis_server.client.get(key)) is not None:
            return int(runner.decode().split(":")[1])
    return None


def settled(redis_server: RedisServer) -> int:
    """How many items have been let go of."""
    (key,) = redis_server.client.keys("airscrew:*:counts")
    return int(redis_server.client.hget(key, "done") or 0)


def until(condition: Callable[[], bool], service: QueueService) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, service.log[-4000:]
        time.sleep(0.005)


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_executions_are_the_items_exactly_although_the_queue_service_and_redis_are_killed(
    admin: Door, stubs: flyte.Stubs, redis_server: RedisServer, service: QueueService, kind: Kind
) -> None:
    dice = random.Random(str(kind))
    add(stubs, redis_server, kind)
    push(redis_server, kind, *({"x": x} for x in range(ITEMS)))
    for part, victim in enumerate(("service", "redis", "service", "both"), start=1):
        enough = part * ITEMS // 5 + dice.randrange(20)
        until(lambda enough=enough: len(xs(admin)) > enough, service)  # type: ignore[misc]
        if victim != "redis":
            service.kill()
        if victim != "service":
            redis_server.restart()
        if victim != "redis":
            service.start()
    until(lambda: settled(redis_server) >= ITEMS, service)
    assert service.stop() == 0
    assert xs(admin) == list(range(ITEMS))
    assert "Traceback" not in service.log, service.log


def test_two_services_take_in_one_list_once(
    admin: Door, stubs: flyte.Stubs, redis_server: RedisServer, service: QueueService, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = QueueService(folder, admin.endpoint)
    try:
        add(stubs, redis_server, Kind.LIST)
        push(redis_server, Kind.LIST, *({"x": x} for x in range(ITEMS // 2)))
        until(lambda: len(xs(admin)) > 50, service)
        until(lambda: taking_in(redis_server) is not None, service)
        stopped = taking_in(redis_server)
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        # However late the signal came, there is something left to do for the other one.
        push(redis_server, Kind.LIST, *({"x": x} for x in range(ITEMS // 2, ITEMS)))
        until(lambda: len(xs(admin)) >= ITEMS, other)  # the other one, once the lease of the first is over
        until(lambda: taking_in(redis_server) not in (None, stopped), other)
        os.kill(stopped, signal.SIGCONT)
        assert service.stop() == 0 and other.stop() == 0
    finally:
        other.kill()
    assert xs(admin) == list(range(ITEMS))
