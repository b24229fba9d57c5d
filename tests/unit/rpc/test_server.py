"""A server of ours over a real socket: what goes wrong in a handler leaves as the right status, and how it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from flyteidl.admin import signal_pb2
from flyteidl.service import signal_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from libs.rpc import channel, handlers, server
from libs.workflow import errors
from protos import queue_pb2, queue_pb2_grpc

SERVICE = "airscrew.queue.v1.Queue"


@server.unimplemented
class Api(queue_pb2_grpc.QueueServicer):
    """Does in each method what the test says."""

    def __init__(self) -> None:
        self.stats: Callable[[Any], Any] = lambda context: asyncio.sleep(0)
        self.reply: Any = queue_pb2.StatsReply()
        self.closed = asyncio.Event()

    async def Stats(self, request: queue_pb2.StatsRequest, context: Any) -> Any:
        await self.stats(context)
        return self.reply

    async def Work(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[queue_pb2.WorkReply]:
        try:
            async for request in requests:
                if request.credits == 0:
                    raise errors.Fenced("epoch 7 is newer")
                yield queue_pb2.WorkReply()
        finally:
            self.closed.set()

    async def Subscribe(self, request: queue_pb2.SubscribeRequest, context: Any) -> None:
        await context.write(queue_pb2.SubscribeReply())
        raise ZeroDivisionError("a bug")


@pytest_asyncio.fixture
async def api() -> Api:
    return Api()


@pytest_asyncio.fixture
async def running(api: Api) -> AsyncIterator[server.Server]:
    running = server.build(
        "127.0.0.1:0", services={SERVICE: lambda s: queue_pb2_grpc.add_QueueServicer_to_server(api, s)}
    )
    running.address = await running.start()  # type: ignore[attr-defined]
    yield running
    await running.stop(0.1)


@pytest_asyncio.fixture
async def connection(running: Any) -> AsyncIterator[grpc.aio.Channel]:
    async with channel.connect(running.address) as connection:
        yield connection


@pytest_asyncio.fixture
async def stub(connection: grpc.aio.Channel) -> Any:
    return queue_pb2_grpc.QueueStub(connection)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def everything(call: Any) -> list[Any]:
    return [message async for message in call]


async def test_an_error_of_ours_leaves_as_its_status(api: Api, stub: Any) -> None:
    async def stats(context: Any) -> None:
        raise errors.NotFound("shard: there is no shard 9")

    api.stats = stats
    assert await refused(stub.Stats(queue_pb2.StatsRequest())) == (
        grpc.StatusCode.NOT_FOUND,
        "shard: there is no shard 9",
    )


async def test_a_bug_leaves_as_internal_and_is_logged(api: Api, stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def stats(context: Any) -> None:
        raise KeyError("x")

    api.stats = stats
    status, message = await refused(stub.Stats(queue_pb2.StatsRequest()))
    assert (status, message) == (grpc.StatusCode.INTERNAL, "internal error: KeyError: 'x'")
    assert "/airscrew.queue.v1.Queue/Stats failed" in caplog.text


class Signals(signal_pb2_grpc.SignalServiceServicer):
    """A service whose generated code adds its handlers by their names alone."""

    async def ListSignals(self, request: Any, context: Any) -> Any:
        raise KeyError("x")


async def test_handlers_that_are_found_by_name_are_guarded_too_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wraps: list[str] = []
    wrapped = handlers._wrapped

    def wrap(handler: Any, method: str) -> Any:
        wraps.append(method)
        return wrapped(handler, method)

    monkeypatch.setattr(handlers, "_wrapped", wrap)
    running = server.build(
        "127.0.0.1:0",
        services={
            "flyteidl.service.SignalService": lambda s: signal_pb2_grpc.add_SignalServiceServicer_to_server(
                Signals(), s
            )
        },
    )
    async with channel.connect(await running.start()) as connection:
        stub = signal_pb2_grpc.SignalServiceStub(connection)
        for _ in range(3):
            status, message = await refused(stub.ListSignals(signal_pb2.SignalListRequest()))
            assert (status, message) == (grpc.StatusCode.INTERNAL, "internal error: KeyError: 'x'")
        with pytest.raises(grpc.aio.AioRpcError, match="Method not found"):
            await connection.unary_unary("/flyteidl.service.SignalService/Nothing")(b"")
    await running.stop(0)
    assert wraps.count("/flyteidl.service.SignalService/ListSignals") == 1


async def test_abort_keeps_its_meaning(api: Api, stub: Any) -> None:
    async def stats(context: Any) -> None:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "as said")

    api.stats = stats
    assert await refused(stub.Stats(queue_pb2.StatsRequest())) == (grpc.StatusCode.OUT_OF_RANGE, "as said")


async def test_a_malformed_request_is_the_callers_fault(connection: grpc.aio.Channel) -> None:
    status, message = await refused(connection.unary_unary(f"/{SERVICE}/Stats")(b"\xff\xff"))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "malformed" in message


async def test_a_malformed_message_in_a_stream_is_too(connection: grpc.aio.Channel) -> None:
    call = connection.stream_stream(f"/{SERVICE}/Work")(iter([b"\xff\xff"]))
    status, _ = await refused(everything(call))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_response_that_cannot_be_written_is_our_bug(api: Api, stub: Any) -> None:
    api.reply = None
    status, _ = await refused(stub.Stats(queue_pb2.StatsRequest()))
    assert status is grpc.StatusCode.INTERNAL


async def test_an_error_in_a_stream_comes_after_what_was_sent(stub: Any) -> None:
    call = stub.Work(iter([queue_pb2.WorkRequest(credits=1), queue_pb2.WorkRequest(credits=0)]))
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in call:
            received.append(message)
    assert len(received) == 1
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "epoch 7 is newer")


async def test_a_handler_that_writes_by_itself_is_guarded_too(stub: Any) -> None:
    call = stub.Subscribe(queue_pb2.SubscribeRequest())
    assert isinstance(await call.read(), queue_pb2.SubscribeReply)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_a_caller_that_goes_away_cancels_the_stream_and_its_clean_up_runs(api: Api, stub: Any) -> None:
    call = stub.Work()
    await call.write(queue_pb2.WorkRequest(credits=1))
    await call.read()
    call.cancel()
    async with asyncio.timeout(5):
        await api.closed.wait()


async def test_a_method_that_is_not_there_says_its_name(stub: Any) -> None:
    status, message = await refused(stub.Publish(iter([])))
    assert status is grpc.StatusCode.UNIMPLEMENTED
    assert message == "airscrew.queue.v1.Queue/Publish is not implemented by this server"


async def test_a_call_is_given_up_before_the_callers_deadline(api: Api, stub: Any) -> None:
    given_up = asyncio.Event()

    async def stats(context: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.set()
            raise

    api.stats = stats
    status, _ = await refused(stub.Stats(queue_pb2.StatsRequest(), timeout=0.3))
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await given_up.wait()


async def test_health_is_serving_only_between_ready_and_not_serving(
    running: server.Server, connection: grpc.aio.Channel
) -> None:
    stub = health_pb2_grpc.HealthStub(connection)

    async def health(service: str = "") -> int:
        await asyncio.sleep(0.01)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status

    not_serving, serving = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
    assert await health() == not_serving
    running.ready()
    assert (await health(), await health(SERVICE)) == (serving, serving)
    running.not_serving()
    assert await health(SERVICE) == not_serving


async def test_whoever_runs_the_process_hears_when_health_is_serving(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.bind("")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + ear.getsockname()[1:].decode())

        running.ready()

        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(ear, 100) == b"READY=1"


async def test_reflection_names_the_services(connection: grpc.aio.Channel) -> None:
    call = reflection_pb2_grpc.ServerReflectionStub(connection).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_stopping_lets_running_calls_finish_within_the_grace(api: Api, running: Any, stub: Any) -> None:
    entered = asyncio.Event()

    async def stats(context: Any) -> None:
        entered.set()
        await asyncio.sleep(0.1)

    api.stats = stats
    call = stub.Stats(queue_pb2.StatsRequest())
    await entered.wait()
    await running.stop(5)
    assert isinstance(await call, queue_pb2.StatsReply)


async def test_stopping_ends_a_stream_that_does_not_end_itself(api: Api, running: Any, stub: Any) -> None:
    call = stub.Work()
    await call.write(queue_pb2.WorkRequest(credits=1))
    await call.read()
    async with asyncio.timeout(5):
        await running.stop(0.1)
        await api.closed.wait()


async def test_a_port_that_is_taken_is_an_error(running: Any) -> None:
    second = server.build(running.address, services={})
    with pytest.raises(errors.Unavailable, match="cannot listen"):
        await second.start()
    await second.stop(0)


async def test_large_messages_pass(api: Api, stub: Any) -> None:
    big = queue_pb2.WorkRequest(open=queue_pb2.WorkRequest.Open(propeller="x" * 10_000_000), credits=1)
    call = stub.Work(iter([big]))
    assert len(await everything(call)) == 1


async def test_a_client_is_back_soon_after_its_server_is() -> None:
    first = server.build("127.0.0.1:0", services={})
    address = await first.start()
    async with channel.connect(address) as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        await stub.Check(health_pb2.HealthCheckRequest())
        await first.stop(0)
        await asyncio.sleep(0.5)
        second = server.build(address, services={})
        await second.start()
        async with asyncio.timeout(5):
            await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        await second.stop(0)
