"""Connections between simulated processes: the part of gRPC that our clients and services use.

As over TCP, what is sent on one connection arrives in order and once, or the connection breaks: then what was on its
way is gone, and each side learns of it at a time of its own. Between two processes that are cut off from each other
nothing arrives until the cut is healed.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from typing import Any

import grpc
import grpc.aio

from libs.rpc import errors as statuses
from tests.support.simulation.loop import Process, VirtualLoop, current

Handler = Callable[[Any, Any], Any]
Observer = Callable[["Call", Any], None]

_DELAY_SECONDS = 0.002
_LATE_SECONDS = 0.5
_NEXT_SECONDS = 1e-6
"""How long after what was sent before it something arrives at least: at one moment there is no order."""
_RESET_SECONDS = 0.05
_SILENT_SECONDS = 15.0
"""How long a peer may not notice that a connection is gone: keep-alives tell it by then."""


class Pipe:
    """One direction of a connection, as its reader sees it."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self.ended = False

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake()

    def end(self) -> None:
        self.ended = True
        self._wake()

    async def get(self) -> Any:
        """The next item, or EOF."""
        while not self._items:
            if self.ended:
                return grpc.aio.EOF
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._items.popleft()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Call:
    """A call, as its client sees it."""

    def __init__(self, network: Network, address: str, method: str, metadata: Any) -> None:
        self._network = network
        self.address = address
        self.method = method
        self.metadata = metadata
        self.client = current()
        self.server: Process | None = None
        self.to_server = Pipe()
        self.to_client = Pipe()
        self.broken = False
        self.handling: asyncio.Task[None] | None = None
        self._begun = Pipe()
        self._error: grpc.aio.AioRpcError | None = None
        self._sending: asyncio.Task[None] | None = None
        self._written = False
        self._arrivals = [0.0, 0.0]
        self.spoken = [False, False]
        """Whether the server, the client, has said something yet."""

    # ---------------------------------------------------------------------------------------------- for the client

    async def initial_metadata(self) -> None:
        await self._begun.get()

    def done(self) -> bool:
        return self.to_client.ended

    async def write(self, message: Any) -> None:
        if self._error is not None:
            raise self._error
        if self._written or self.done():
            raise asyncio.InvalidStateError("the call has ended")
        self._network.send(self, message, to_server=True)
        await asyncio.sleep(0)

    async def done_writing(self) -> None:
        self._written = True
        self._network.transmit(self, 1, self.to_server.end)

    async def read(self) -> Any:
        item = await self.to_client.get()
        if item is grpc.aio.EOF and self._error is not None:
            raise self._error
        return item

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (item := await self.read()) is not grpc.aio.EOF:
            yield item

    def __await__(self) -> Generator[Any, None, Any]:
        return self.read().__await__()

    def cancel(self) -> bool:
        if self._sending is not None:
            self._sending.cancel()
        if not self.done():
            self._network.hang_up(self)
            self.fail(grpc.StatusCode.CANCELLED, "cancelled by the client")
        return True

    def send_all(self, messages: AsyncIterator[Any]) -> None:
        """Writes what an iterator gives."""

        async def send() -> None:
            async for message in messages:
                if self.done():
                    return
                await self.write(message)
            await self.done_writing()

        self._sending = asyncio.get_running_loop().create_task(send(), name=f"send {self.method}")

    # -------------------------------------------------------------------------------------------- for the network

    def began(self) -> None:
        self._begun.end()

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """The client learns that it is over."""
        if not self.to_client.ended:
            self._error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
            self.to_client.end()
            self._begun.end()

    def end(self) -> None:
        self.to_client.end()
        self._begun.end()

    def arrival(self, direction: int, at: float) -> float:
        """When something that could arrive at `at` does: after what was sent before it."""
        self._arrivals[direction] = max(self._arrivals[direction] + _NEXT_SECONDS, at)
        return self._arrivals[direction]


class _Context:
    """A call, as its handler sees it."""

    def __init__(self, network: Network, call: Call) -> None:
        self._network = network
        self._call = call

    def invocation_metadata(self) -> Any:
        return self._call.metadata

    async def send_initial_metadata(self, _metadata: Any) -> None:
        self._network.transmit(self._call, 0, self._call.began)

    async def write(self, message: Any) -> None:
        self._network.send(self._call, message, to_server=False)
        await asyncio.sleep(0)

    async def requests(self) -> AsyncIterator[Any]:
        while (item := await self._call.to_server.get()) is not grpc.aio.EOF:
            yield item


class Channel:
    """What a stub is made with."""

    def __init__(self, network: Network, address: str) -> None:
        self._network = network
        self._address = address
        self._calls: list[Call] = []

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self.close()

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()

    def stream_stream(self, path: str, **_codec: Any) -> Callable[..., Call]:
        def begin(messages: AsyncIterator[Any] | None = None, metadata: Any = ()) -> Call:
            call = self._network.call(self._address, path.rpartition("/")[2], metadata)
            if messages is not None:
                call.send_all(messages)
            self._calls = [*(each for each in self._calls if not each.done()), call]
            return call

        return begin

    stream_unary = unary_stream = unary_unary = stream_stream


class Network:
    """All connections."""

    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        self._loop = loop
        self._dice = dice
        self._listening: dict[str, tuple[Process, Any]] = {}
        self._calls: dict[Call, None] = {}
        self.cuts: set[frozenset[str]] = set()
        """Pairs of processes that do not hear each other."""
        self.late = 0.0
        """How often something takes long."""
        self.doubling = 0.0
        """How often what is said in a session is said twice."""
        self.on_request: Observer = lambda call, message: None
        """Is told of what arrives at a server."""

    def listen(self, address: str, process: Process, servicer: Any) -> None:
        self._listening[address] = (process, servicer)

    def connect(self, address: str) -> Any:
        """A channel of the process that is running."""
        return Channel(self, address)

    def call(self, address: str, method: str, metadata: Any) -> Call:
        call = Call(self, address, method, metadata)
        self._calls[call] = None
        if call.client is None or not call.client.dead:
            self.transmit(call, 1, self._take_up, call)
        return call

    def calls(self) -> list[Call]:
        """Those that stand."""
        self._calls = {call: None for call in self._calls if not (call.broken or call.done())}
        return list(self._calls)

    # ------------------------------------------------------------------------------------------------- on the way

    def send(self, call: Call, message: Any, *, to_server: bool) -> None:
        sender = call.client if to_server else call.server
        if sender is None or not sender.dead:
            self.transmit(call, int(to_server), self._arrive, call, message, to_server)
            if call.method == "Session" and call.spoken[to_server] and self._dice.random() < self.doubling:
                self.transmit(call, int(to_server), self._arrive, call, message, to_server)
            call.spoken[to_server] = True

    def transmit(self, call: Call, direction: int, callback: Callable[..., None], *args: Any) -> None:
        """Something travels on a connection, behind what was sent before it."""
        delay = self._dice.random() * (_LATE_SECONDS if self._dice.random() < self.late else _DELAY_SECONDS)
        at = call.arrival(direction, self._loop.time() + delay)
        self._loop.outside(at - self._loop.time(), self._pass, call, direction, callback, args)

    def _pass(self, call: Call, direction: int, callback: Callable[..., None], args: Any) -> None:
        if call.broken:
            return
        if self._is_cut(call):
            at = call.arrival(direction, self._loop.time() + 0.2)
            self._loop.outside(at - self._loop.time(), self._pass, call, direction, callback, args)
            return
        callback(*args)

    def _is_cut(self, call: Call) -> bool:
        if not self.cuts or call.client is None:
            return False
        server = call.server or self._listening.get(call.address, (None,))[0]
        return server is not None and frozenset((call.client.name, server.name)) in self.cuts

    def _arrive(self, call: Call, message: Any, to_server: bool) -> None:
        if to_server:
            self.on_request(call, message)
            call.to_server.put(message)
        else:
            call.began()
            call.to_client.put(message)

    # ------------------------------------------------------------------------------------------------ at the server

    def _take_up(self, call: Call) -> None:
        process, servicer = self._listening.get(call.address, (None, None))
        if process is None or process.dead:
            call.broken = True
            call.fail(grpc.StatusCode.UNAVAILABLE, f"nobody listens at {call.address}")
            return
        call.server = process
        call.handling = self._loop.start(process, self._handle(call, getattr(servicer, call.method)))

    async def _handle(self, call: Call, handler: Handler) -> None:
        context = _Context(self, call)
        try:
            await handler(context.requests(), context)
        except Exception as error:
            self.transmit(call, 0, call.fail, *statuses.status_of(error))
        else:
            self.transmit(call, 0, call.end)

    def hang_up(self, call: Call) -> None:
        """The client does not want to go on."""
        self.transmit(call, 1, self._drop_handler, call)

    def _drop_handler(self, call: Call) -> None:
        call.broken = True
        if call.handling is not None:
            call.handling.cancel()

    # ---------------------------------------------------------------------------------------------------- trouble

    def break_calls(self, calls: Iterable[Call], *, silently: bool = False) -> None:
        """Connections break: what was on its way is gone, and each side learns of it when it does."""
        for call in calls:
            call.broken = True
            longest = _SILENT_SECONDS if silently else _RESET_SECONDS
            server, client = (self._dice.random() * longest for _ in range(2))
            self._loop.outside(client, call.fail, grpc.StatusCode.UNAVAILABLE, "the connection broke")
            self._loop.outside(server, self._drop_handler, call)

    def calls_of(self, process: Process) -> list[Call]:
        return [call for call in self.calls() if process in (call.client, call.server)]
