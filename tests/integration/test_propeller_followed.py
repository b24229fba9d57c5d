"""A running `admin` follows a running propeller, from its own address, and hears of its ends to the last."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.clients.propeller import Propellers
from libs.rpc import channel
from libs.runtime.clock import SystemClock
from libs.telemetry.traces import Tracing
from libs.workflow.phases import ExecutionPhase
from protos import propeller_pb2, propeller_pb2_grpc
from services.admin import app as admin_app
from services.admin.ears import Ears
from services.admin.hints import Hints
from services.admin.settings import AdminSettings
from services.standalone.etcd import EtcdServer
from tests.support.graphs import Plan, Step
from tests.support.propelling import Fleet, Instant
from tests.support.waiting import until

PLAN = Plan((Step("n0"),))

pytestmark = pytest.mark.timeout(60)


async def _run(fleet: Fleet, key: int) -> None:
    await fleet.submit(PLAN, key)
    await fleet.until(ExecutionPhase.SUCCEEDED, key)


async def test_a_running_admin_hears_of_ends_from_a_running_propeller(
    tmp_path: Path, sqlite_url: str, etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Ears] = []

    class Remembered(Ears):
        def __init__(self, propellers: Propellers, hints: Hints) -> None:
            super().__init__(propellers, hints)
            opened.append(self)

    monkeypatch.setattr(admin_app, "Ears", Remembered)
    async with Fleet(tmp_path, sqlite_url, etcd.endpoint) as fleet:
        fleet.queue()
        propeller = fleet.propeller()
        fleet.executor(Instant())
        await fleet.register(PLAN)
        await fleet.led()
        settings = AdminSettings(
            database=sqlite_url,
            blob=str(fleet.blob),
            queue=fleet.queue_address,
            signing_key="a signing key for tests",
            listen="127.0.0.1:0",
            http_listen="127.0.0.1:0",
        )
        async with (
            admin_app.running(settings, SystemClock(), Tracing()),
            channel.connect(fleet.propellers[0]) as connection,
        ):
            keys = count(1)
            while not opened[0].followed:  # the queue service tells of an end, and who has committed it
                await _run(fleet, next(keys))
            call: Any = propeller_pb2_grpc.PropellerStub(connection).Follow(propeller_pb2.FollowRequest())
            await call.initial_metadata()
            await _run(fleet, last := next(keys))
            await until(lambda: opened[0].ends > 0, "an end is heard of first-hand")
            await propeller.stop()
            assert last in [id async for reply in call for id in reply.ids]
            assert await call.code() is grpc.StatusCode.OK, "the stream has ended, it was not cut off"
            await until(lambda: opened[0].followed == 0, "nobody is followed any more")
