"""Processes that are kept for many tasks (`airscrew/reuse`): forked like all others, and asked for the next task when
one has ended, as long as the last has left nothing behind (`bootstrap/worker.py`).

Which tasks may share one: those with the same recipe, the same memory limit and the same devices. It runs one at a
time, and nothing is made for a task: no directory, no file, no thread.

What it prints comes through a pipe that is read here, because only here it is known whose it is: when a task's end has
arrived, everything that it printed before has too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libs.runtime.clock import Clock
from libs.workflow import errors
from services.executor import datadir, framing
from services.executor.commandline import Command
from services.executor.runner import Exit, Recipe
from services.executor.settings import ExecutorSettings
from services.executor.wardens import Warden
from services.executor.zygotes import Zygotes

logger = logging.getLogger(__name__)

_PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks of one kind may share a process."""

    recipe: Recipe
    memory_limit_bytes: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be said of a task before it is known which attempt it is."""

    command: Command
    recipe: Recipe
    module: str
    memory_limit_bytes: int
    with_template: bool
    """Whether its command line names its template, which then lies in a file."""


class Kept:
    """One process. At most one task runs in it."""

    def __init__(self, kind: Kind, directory: Path, warden: Warden) -> None:
        self.kind = kind
        self.directory = directory
        self.work = str(directory / "work")
        self.home = str(directory / "home")
        self.temporary = str(directory / "tmp")
        self.tasks = 0
        """How many it has been given."""
        self.ended = False
        self.used_at = 0.0
        self._warden = warden
        self._channel, self._theirs = socket.socketpair()
        self._channel.setblocking(False)
        self._printed, self._prints = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._prints, True)
        self._replies = framing.Replies(0)
        self._environment: Mapping[str, str] = {}
        """That of the last task."""
        self._answer: asyncio.Future[framing.Reply | None] | None = None
        self._take: Callable[[bytes], None] = lambda _: None
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def start(self, order: dict[str, Any]) -> None:
        """Raises BrokenPipeError when it cannot be started."""
        try:
            await self._warden.run(order, self._theirs.fileno(), self._prints)
        finally:
            self._theirs.close()
            os.close(self._prints)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, self._listen)
        loop.add_reader(self._printed, self._read)

    async def live(self) -> None:
        """Returns when it has ended and nothing of it is left."""
        try:
            ended = await self._warden.ended(self.directory)
            self._read()
        finally:
            self.ended = True
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._channel)
            loop.remove_reader(self._printed)
            self._channel.close()
            os.close(self._printed)
            self._warden.give_back()
        self._exit.set_result(ended)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
        await asyncio.to_thread(datadir.remove, self.directory)

    def discard(self) -> None:
        """It is needed no more: it ends by itself."""
        self.ended = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        """Ends it, with the task that it has: SIGTERM, after its grace SIGKILL."""
        self.ended = True
        self._warden.stop()

    async def run(
        self,
        header: Mapping[str, Any],
        environment: Mapping[str, str],
        inputs: bytes,
        limit: int,
        take: Callable[[bytes], None],
    ) -> tuple[Exit, framing.Reply | None]:
        """Runs one task in this environment; `take` gets what it prints. If the process ends with it, nothing of it is
        left.
        """
        self.tasks += 1
        self._replies, self._take = framing.Replies(limit), take
        self._answer = answer = asyncio.get_running_loop().create_future()
        changes: dict[str, str | None] = dict(environment.items() - self._environment.items())
        changes.update(dict.fromkeys(self._environment.keys() - environment.keys()))
        self._environment = environment
        header = {**header, "environment": changes, "furnish": self.tasks == 1}
        await self._send(framing.request(header, inputs))
        reply = await answer
        self._answer = None
        self._read()
        self._take = lambda _: None
        if reply is not None and not reply.leak:
            return Exit(code=reply.code), reply
        self.ended = True
        return await self._exit, reply

    async def _send(self, data: bytes) -> None:
        try:
            sent = self._channel.send(data)
            if sent < len(data):
                await asyncio.get_running_loop().sock_sendall(self._channel, memoryview(data)[sent:])
        except OSError:
            self.stop()  # it does not read: what becomes of it says why

    def _listen(self) -> None:
        try:
            data = self._channel.recv(_PIECE_BYTES)
            reply = self._replies.feed(data) if data else None
        except BlockingIOError:
            return
        except (OSError, framing.Broken) as problem:
            if isinstance(problem, framing.Broken):
                logger.warning("a task process is ended: %s", problem)
                self.stop()
            data, reply = b"", None
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)
        elif reply is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)

    def _read(self) -> None:
        """Takes what was printed so far; without a task it is nobody's."""
        while True:
            try:
                data = os.read(self._printed, _PIECE_BYTES)
            except OSError:
                return  # nothing for now
            if not data:
                asyncio.get_running_loop().remove_reader(self._printed)
                return
            self._take(data)
            if len(data) < _PIECE_BYTES:
                return


class KeptProcesses:
    """All of them, and the owner of the tasks that they live in: a context, whose end is theirs."""

    def __init__(self, settings: ExecutorSettings, root: Path, zygotes: Zygotes, clock: Clock) -> None:
        self._settings = settings
        self._root = root
        self._zygotes = zygotes
        self._clock = clock
        self.plans: dict[Hashable, Plan] = {}
        """What is remembered of tasks, oldest first."""
        self._idle: dict[Kind, list[Kept]] = {}
        self._count = 0
        self._lives: set[asyncio.Task[None]] = set()
        self._retiring: asyncio.Task[None] | None = None

    async def __aenter__(self) -> KeptProcesses:
        self._retiring = asyncio.create_task(self._retire_idle(), name="retire kept processes")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._retiring is not None:
            self._retiring.cancel()
            await asyncio.gather(self._retiring, return_exceptions=True)
        for kept in [kept for idle in self._idle.values() for kept in idle]:
            kept.stop()
        await asyncio.gather(*self._lives, return_exceptions=True)

    def take(self, kind: Kind) -> Kept | None:
        """One that is free."""
        idle = self._idle.get(kind, [])
        while idle:
            kept = idle.pop()
            if not kept.ended:
                return kept
        return None

    async def start(self, kind: Kind, order: dict[str, Any]) -> Kept:
        """Another one. Raises Cold, or Unavailable when the machine cannot start it."""
        self._count += 1
        directory = self._root / f"kept-{self._count}"
        await asyncio.to_thread(datadir.make_scratch, directory, self._settings.task_uid, self._settings.task_gid)
        try:
            kept = Kept(kind, directory, self._zygotes.take(kind.recipe))
        except BaseException:
            await asyncio.to_thread(datadir.remove, directory)
            raise
        try:
            await asyncio.shield(self._begin(kept, order))
        except OSError as error:
            raise errors.Unavailable(f"cannot start a process: {error}") from error
        return kept

    async def _begin(self, kept: Kept, order: dict[str, Any]) -> None:
        try:
            await kept.start(order)
        finally:
            life = asyncio.create_task(kept.live(), name="kept process")
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)

    def give_back(self, kept: Kept) -> None:
        """Its task is over."""
        kept.used_at = self._clock.monotonic()
        if kept.ended:
            return
        if kept.tasks >= self._settings.reuse_tasks:
            kept.discard()
        else:
            self._idle.setdefault(kept.kind, []).append(kept)

    async def _retire_idle(self) -> None:
        idle_seconds = self._settings.zygote_idle_seconds
        while True:
            await asyncio.sleep(idle_seconds / 4)
            before = self._clock.monotonic() - idle_seconds
            for kind, idle in list(self._idle.items()):
                for kept in [kept for kept in idle if kept.used_at < before]:
                    idle.remove(kept)
                    kept.discard()
                if not idle:
                    del self._idle[kind]
