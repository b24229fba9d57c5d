"""Calls are counted by what became of them, under the names that dashboards of gRPC servers know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.rpc import channel, server
from libs.telemetry.metrics import Metering
from libs.telemetry.otlp import SdkMetrics
from libs.workflow import errors
from protos import queue_pb2, queue_pb2_grpc
from tests.support.meters import histograms, shown

SERVICE = "airscrew.queue.v1.Queue"


class Api(queue_pb2_grpc.QueueServicer):
    """Answers, refuses, breaks, never ends."""

    async def Stats(self, request: Any, context: Any) -> Any:
        return queue_pb2.StatsReply()

    async def Pause(self, request: Any, context: Any) -> Any:
        raise errors.NotFound("there is no such shard")

    async def Resume(self, request: Any, context: Any) -> Any:
        raise ZeroDivisionError("a bug")

    async def Inspect(self, request: Any, context: Any) -> Any:
        await asyncio.Event().wait()

    async def Work(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[queue_pb2.WorkReply]:
        async for _ in requests:
            yield queue_pb2.WorkReply()


async def test_calls_are_counted_by_method_and_code_and_unary_ones_are_timed() -> None:
    reader = InMemoryMetricReader()
    running = server.build(
        "127.0.0.1:0",
        services={SERVICE: lambda s: queue_pb2_grpc.add_QueueServicer_to_server(Api(), s)},
        metering=Metering(lambda: SdkMetrics("queue", reader)),
    )
    async with channel.connect(await running.start()) as connected:
        stub: Any = queue_pb2_grpc.QueueStub(connected)
        await stub.Stats(queue_pb2.StatsRequest())
        for method, request in ((stub.Pause, queue_pb2.PauseRequest()), (stub.Resume, queue_pb2.ResumeRequest())):
            with pytest.raises(grpc.aio.AioRpcError):
                await method(request)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Inspect(queue_pb2.InspectRequest(), timeout=0.1)
        work = stub.Work()
        await work.write(queue_pb2.WorkRequest())
        await work.read()
        await work.done_writing()
        assert await work.read() is grpc.aio.EOF
        await running.stop(1.0)
    seen = shown(reader)
    assert {(a["grpc_method"], a["grpc_type"], a["grpc_code"]): n for a, n in seen["grpc.server.handled"]} == {
        ("Stats", "unary", "OK"): 1,
        ("Pause", "unary", "NotFound"): 1,
        ("Resume", "unary", "Internal"): 1,
        ("Inspect", "unary", "DeadlineExceeded"): 1,
        ("Work", "bidi_stream", "OK"): 1,
    }
    assert {a["grpc_method"]: n for a, n in seen["grpc.server.started"]} == {
        "Stats": 1, "Pause": 1, "Resume": 1, "Inspect": 1, "Work": 1,
    }  # fmt: skip
    assert {a["grpc_method"] for a, _ in histograms(reader)["grpc.server.handling"]} == {
        "Stats", "Pause", "Resume", "Inspect",
    }  # fmt: skip
    assert all(a["grpc_service"] == SERVICE for a, _ in seen["grpc.server.handled"])


async def test_a_server_that_nobody_collects_metrics_of_is_not_slowed_by_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("counted")

    monkeypatch.setattr(server, "MeteringInterceptor", refuse)
    server.build("127.0.0.1:0", services={}, metering=Metering())
