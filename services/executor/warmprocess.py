"""Commands as calls in processes that are forked from warm ones; all others, and whatever is not warm, as ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any, Final

from libs.runtime.clock import Clock
from libs.workflow import errors
from services.executor import datadir, framing, recipes, runner
from services.executor.processes import ProcessId
from services.executor.runner import Exit, Launch, ProcessRunner, Running, Warm
from services.executor.wardens import Warden
from services.executor.zygotes import Cold, Zygotes

_PIECE_BYTES: Final = 1 << 18


class WarmProcesses:
    """A `ProcessRunner`: a fork for each launch that says how (`Launch.warm`), `cold` for the others."""

    def __init__(self, cold: ProcessRunner, zygotes: Zygotes, clock: Clock) -> None:
        self._cold = cold
        self._zygotes = zygotes
        self._clock = clock

    async def start(self, launch: Launch) -> Running:
        """Raises Unavailable when this machine cannot start it now, InvalidArgument when none ever can."""
        if launch.warm is not None:
            with contextlib.suppress(Cold):
                return await self._fork(launch, launch.warm, self._zygotes.take(launch.warm.recipe))
            if launch.warm.inputs is not None:
                await asyncio.to_thread(runner.place_inputs, launch, launch.warm.inputs)
        return await self._cold.start(launch)

    async def _fork(self, launch: Launch, warm: Warm, warden: Warden) -> Running:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                log = _open_log(launch)
                try:
                    process = await warden.run(_order(launch), theirs.fileno(), log)
                finally:
                    os.close(log)
        except BaseException as error:
            ours.close()
            warden.give_back()
            if isinstance(error, OSError):
                raise errors.Unavailable(f"cannot start a process: {error}") from error
            raise
        return _Fork(launch, warm, warden, ours, process, self._clock.now_us())


class _Fork:
    """One process, for one task."""

    def __init__(
        self,
        launch: Launch,
        warm: Warm,
        warden: Warden,
        channel: socket.socket,
        process: ProcessId | None,
        started_us: int,
    ) -> None:
        self._launch = launch
        self._warm = warm
        self._warden = warden
        self._channel = channel
        self._process = process
        self._started_us = started_us

    @property
    def started_us(self) -> int:
        return self._started_us

    @property
    def process(self) -> ProcessId | None:
        return self._process

    def stop(self) -> None:
        self._warden.stop()

    async def wait(self) -> Exit:
        try:
            reply = await self._converse()
            ended = await self._warden.ended(self._launch.directory)
            if ended.code is None or reply is None:  # it has not put back its desk
                await asyncio.to_thread(datadir.remove, Path(self._warden.desk))
        finally:
            self._channel.close()
            self._warden.give_back()
        return recipes.handed_back(ended, reply)

    async def _converse(self) -> framing.Reply | None:
        """Sends what to do; returns what is answered before the process ends, if it is an answer."""
        loop = asyncio.get_running_loop()
        replies = framing.Replies(self._warm.inline_limit)
        reply = None
        try:
            await loop.sock_sendall(
                self._channel,
                framing.request(_request(self._launch, self._warm, self._warden.desk), self._warm.inputs or b""),
            )
            while data := await loop.sock_recv(self._channel, _PIECE_BYTES):
                reply = replies.feed(data)
        except framing.Broken:
            return None
        except ConnectionError:
            pass  # it ended without reading everything
        return reply


def _order(launch: Launch) -> dict[str, Any]:
    """What a warden is told: all of it is the executor's own."""
    return {
        "reuse": False,
        "log_limit": launch.log_limit_bytes,
        "memory_limit": launch.memory_limit_bytes,
        "grace": launch.kill_grace_seconds,
    }


def _request(launch: Launch, warm: Warm, desk: str) -> dict[str, Any]:
    """What a process is told of a task."""
    return {
        "words": warm.words,
        "environment": dict(warm.environment),
        "desk": desk,
        "work": str(launch.working_directory),
        "temporary": warm.environment["TMPDIR"],
        "furnish": True,
        "inline": warm.inputs is not None,
        "limit": warm.inline_limit,
        "configured": warm.configured,
    }


def _open_log(launch: Launch) -> int:
    """The log, to append to. As the supervisor does: a link in its place is not followed, a bad place costs the log."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(launch.log, flags | os.O_NOFOLLOW, 0o644)
    except OSError:
        return os.open(os.devnull, flags)
