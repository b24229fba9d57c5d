"""Commands as calls in processes that are forked from warm ones; all others, and whatever is not warm, as ever."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any, Final

from libs.runtime.clock import Clock
from libs.workflow import errors
from services.executor import datadir, framing, recipes
from services.executor.processes import ProcessId
from services.executor.runner import Exit, Launch, ProcessRunner, Running, Warm
from services.executor.tasklog import Printed

_PIECE_BYTES: Final = 1 << 18
_PRINTED_BYTES: Final = 1 << 16


class WarmProcesses:
    """A `ProcessRunner`: a fork for each launch that says how (`Launch.warm`), `cold` for the others."""

    def __init__(self, cold: ProcessRunner, clock: Clock) -> None:
        self._cold = cold
        self._clock = clock

    async def start(self, launch: Launch) -> Running:
        """Raises Unavailable when this machine cannot start it now, InvalidArgument when none ever can."""
        if launch.warm is None:
            return await self._cold.start(launch)
        warm = launch.warm
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        printed, prints = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                warm.warden.run(_order(launch, warm.warden.desk), theirs.fileno(), prints)
            finally:
                theirs.close()
                os.close(prints)
        except BaseException as error:
            ours.close()
            os.close(printed)
            warm.warden.give_back()
            if isinstance(error, OSError):
                raise errors.Unavailable(f"cannot start a process: {error}") from error
            raise
        return _Fork(launch, warm, ours, printed, self._clock.now_us())


class _Fork:
    """One process, for one task. What it prints is read here: a log exists when there is something in it."""

    def __init__(self, launch: Launch, warm: Warm, channel: socket.socket, printed: int, started_us: int) -> None:
        self._launch = launch
        self._warm = warm
        self._warden = warm.warden
        self._channel = channel
        self._pipe = printed
        self._printed = Printed(lambda: launch.log, launch.log_limit_bytes)
        self._started_us = started_us
        os.set_blocking(printed, False)
        asyncio.get_running_loop().add_reader(printed, self._read)

    @property
    def started_us(self) -> int:
        return self._started_us

    @property
    def process(self) -> ProcessId | None:
        """It is found by its environment, and dies with its zygote."""
        return None

    def stop(self) -> None:
        self._warden.stop()

    async def wait(self) -> Exit:
        try:
            reply = await self._converse()
            ended = await self._warden.ended(self._launch.directory)
            self._read()
            if self._warden.broken:  # nobody has put back its desk
                await asyncio.to_thread(datadir.remove, Path(self._warden.desk))
        finally:
            self._channel.close()
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._printed.close()
            self._warden.give_back()
        return recipes.handed_back(ended, reply)

    def _read(self) -> None:
        """Takes what was printed so far."""
        while True:
            try:
                data = os.read(self._pipe, _PRINTED_BYTES)
            except OSError:
                return  # nothing for now
            if not data:
                asyncio.get_running_loop().remove_reader(self._pipe)
                return
            self._printed.write(data)

    async def _converse(self) -> framing.Reply | None:
        """Sends what to do; returns what is answered before the process ends, if it is an answer."""
        loop = asyncio.get_running_loop()
        replies = framing.Replies(self._warm.inline_limit)
        reply = None
        try:
            await loop.sock_sendall(
                self._channel,
                framing.request(_request(self._launch, self._warm), self._warm.inputs or b""),
            )
            while reply is None and (data := await loop.sock_recv(self._channel, _PIECE_BYTES)):
                reply = replies.feed(data)
        except framing.Broken:
            return None
        except ConnectionError:
            pass  # it ended without reading everything
        return reply


def _order(launch: Launch, desk: str) -> dict[str, Any]:
    """What a warden is told: all of it is the executor's own."""
    return {
        "reuse": False,
        "desk": desk,
        "memory_limit": launch.memory_limit_bytes,
        "grace": launch.kill_grace_seconds,
    }


def _request(launch: Launch, warm: Warm) -> dict[str, Any]:
    """What a process is told of a task."""
    return {
        "words": warm.words,
        "environment": dict(warm.changes),
        "work": str(launch.working_directory),
        "furnish": True,
        "inline": warm.inputs is not None,
        "limit": warm.inline_limit,
        "configured": warm.configured,
    }
