"""The network between the processes: every address leads through here, so that any two can be cut off.

One proxy stands before each address. Who has dialled it is asked of the kernel, so that all processes may be told the
same address, as they are in production, and still each pair has a wire of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any

from services.standalone import ports
from tests.chaos import sockets

_CHUNK_BYTES = 1 << 16


class Cut(StrEnum):
    """What a broken network does."""

    SILENT = "silent"
    """Nothing arrives and nobody is told, as with a pulled cable; what was under way arrives after the repair."""
    RESET = "reset"
    """Connections are reset and new ones too, as with a firewall that rejects."""


class Wires:
    """Proxies on an event loop in a thread of its own. `pids` tells who runs, by name."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._cuts: dict[frozenset[str], Cut] = {}
        self._changed = asyncio.Event()
        self._open: dict[asyncio.Task[None], frozenset[str]] = {}

    def __enter__(self) -> Wires:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def before(self, target: str, port: int, taken: set[int]) -> int:
        """The port to tell those who want to reach `target`, which listens on `port`."""
        outside = ports.free(taken)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(target, port, reader, writer)

        self._do(asyncio.start_server(serve, ports.LOOPBACK, outside))
        return outside

    def cut(self, one: str, other: str, how: Cut) -> None:
        """From now on nothing passes between these two, whoever has dialled."""
        self._do(self._set(frozenset({one, other}), how))

    def heal(self) -> None:
        """Repairs everything."""
        self._do(self._set(None, None))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(self, pair: frozenset[str] | None, how: Cut | None) -> None:
        if pair is None or how is None:
            self._cuts.clear()
        else:
            self._cuts[pair] = how
            if how is Cut.RESET:
                for task, ends in self._open.items():
                    if ends == pair:
                        task.cancel()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _end(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, target: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = sockets.owner(writer.get_extra_info("peername"), writer.get_extra_info("sockname"), self._pids())
        pair = frozenset({caller, target})
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = pair
        onward: asyncio.StreamWriter | None = None
        try:
            await self._passable(pair)
            back, onward = await asyncio.open_connection(ports.LOOPBACK, port)
            # One end that is closed ends both: none of the protocols here closes halves.
            pumps = [asyncio.create_task(self._pump(pair, *ends)) for ends in ((reader, onward), (back, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # nobody listens there now
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            del self._open[task]
            for end in (writer, onward):
                if end is not None:
                    end.close()

    async def _pump(self, pair: frozenset[str], source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK_BYTES):
                await self._passable(pair)
                sink.write(data)
                await sink.drain()

    async def _passable(self, pair: frozenset[str]) -> None:
        """Returns when there is no cut; raises OSError where one resets."""
        while (how := self._cuts.get(pair)) is not None:
            if how is Cut.RESET:
                raise ConnectionResetError
            await self._changed.wait()
