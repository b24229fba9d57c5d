"""The queue service as a process: it starts, serves, obeys signals, and its death costs latency only (promise P6)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from libs.clients.queue import Enqueuer, Key, Leased, WorkFeed
from libs.rpc import channel
from tests.support.queue_process import SERVICE, QueueProcess
from tests.support.waiting import until


@pytest_asyncio.fixture
async def queue_process(tmp_path: Path) -> AsyncIterator[QueueProcess]:
    process = QueueProcess(tmp_path / "queue.log")
    await process.start()
    yield process
    process.clean_up()


async def next_of(feed: WorkFeed) -> list[Leased]:
    return await asyncio.wait_for(anext(feed), 10)


async def test_it_ends_in_order_although_streams_are_open(queue_process: QueueProcess) -> None:
    async with Enqueuer(queue_process.address) as enqueuer, WorkFeed(queue_process.address, 0, 1, "p") as feed:
        enqueuer.enqueue(Key(1, 0))
        (leased,) = await next_of(feed)
        assert leased.key.id == 1
        assert await queue_process.end(signal.SIGTERM) == 0
    log = queue_process.log.read_text()
    assert "Traceback" not in log and "never retrieved" not in log, log


async def test_its_death_costs_latency_only(queue_process: QueueProcess) -> None:
    async with Enqueuer(queue_process.address) as enqueuer, WorkFeed(queue_process.address, 0, 1, "p") as feed:
        for number in range(1, 6):
            enqueuer.enqueue(Key(number, 0))
            (leased,) = await next_of(feed)
            assert leased.key.id == number
            await until(lambda: enqueuer.unacknowledged == 0)  # or it would be sent again, and come again
            assert await queue_process.end(signal.SIGKILL) == -signal.SIGKILL
            feed.done(leased)
            await queue_process.start()


async def test_reflection_names_its_methods(queue_process: QueueProcess) -> None:
    async with channel.connect(queue_process.address) as connection:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(connection)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)]), timeout=10
        )
        reply = await call.read()
        assert b"Enqueue" in reply.file_descriptor_response.file_descriptor_proto[0]


def test_all_mistakes_in_its_settings_are_told_at_once() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AIRSCREW")}
    environ |= {"AIRSCREW_QUEUE_DEPTH_KEYS": "many"}
    run = subprocess.run(
        [sys.executable, "-m", "services.queue"], env=environ, capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 2
    assert "AIRSCREW_QUEUE_LISTEN is not set" in run.stderr
    assert "AIRSCREW_QUEUE_DEPTH_KEYS: 'many' is not a whole number" in run.stderr


def test_a_depth_of_nothing_is_refused() -> None:
    environ = os.environ | {"AIRSCREW_LISTEN": "127.0.0.1:0", "AIRSCREW_QUEUE_DEPTH_KEYS": "0"}
    run = subprocess.run(
        [sys.executable, "-m", "services.queue"], env=environ, capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 2 and "DEPTH_KEYS must be at least 1" in run.stderr
