"""Processes that are kept for many tasks (`airscrew/reuse`): forked like all others, and asked for the next task when
one has ended, as long as the last has left nothing behind (`bootstrap/worker.py`).

Which tasks may share one: those with the same recipe, the same memory limit and the same devices. It runs one at a
time, and nothing is made for a task: no directory, no file, no thread.

What it runs next it may have before it has ended the last: a *line*, of which it takes the first whenever it has said
how the last has ended. So neither waits for the other, and several ends are heard of by one wake-up. What is in line
has not begun, for the channel keeps messages apart, and a message is with the process or can be taken back, never both:
we hold the process's end too, and `recall` reads it empty. The process may read at the same moment, and get one from
behind one that was taken back: so each says which it follows, and the process passes over what does not follow the last
that it ran. Recalling is done as soon as there is a reason: the process ends or is to be ended, the task before takes
long, another process is free.

What a task prints comes through a pipe that is read here, because only here it is known whose it is; tasks that follow
one another have different ones. When a task's end has arrived, everything that it printed before has too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from services.executor import datadir, framing, recipes
from services.executor.commandline import Command
from services.executor.runner import Exit, Recipe
from services.executor.slots import Grant
from services.executor.wardens import Warden

logger = logging.getLogger(__name__)

_PIECE_BYTES: Final = 1 << 16
_SIGKILL: Final = 9

AHEAD: Final = 2
"""How many may be in line behind the one that runs: enough for our process to be late by as many tasks."""

LONG_SECONDS: Final = 0.05
"""A task that takes longer has nobody in line: who waits for it could run elsewhere."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks of one kind may share a process."""

    recipe: Recipe
    memory_limit_bytes: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What can be said of a task before it is known which attempt it is."""

    command: Command
    recipe: Recipe
    module: str
    memory_limit_bytes: int
    with_template: bool
    """Whether its command line names its template, which then lies in a file."""
    with_inputs: bool
    """Whether its command line has values of its inputs."""
    kinds: dict[tuple[str, ...], Kind] = field(default_factory=dict)
    """By the devices that it gets."""

    def kind(self, devices: tuple[str, ...]) -> Kind:
        kind = self.kinds.get(devices)
        if kind is None:
            kind = self.kinds[devices] = Kind(self.recipe, self.memory_limit_bytes, devices)
        return kind


@dataclass(slots=True, eq=False)
class Job:
    """A task for a process, and who is told what becomes of it. One of `ended` and `recalled` comes, and comes last."""

    header: Mapping[str, Any]
    environment: Mapping[str, str]
    inputs: bytes
    limit: int
    """How many bytes of outputs it may hand back."""
    begun: Callable[[], None]
    """It is what the process runs next, or runs."""
    printed: Callable[[bytes], None]
    ended: Callable[[Exit, framing.Reply | None], None]
    """The process has done with it; if it has ended with it, nothing of it is left."""
    recalled: Callable[[], None]
    """It was not begun, and will not be."""
    pipe: int = -1
    number: int = 0
    """Of those that the process was given."""
    message: bytes = b""
    """What it was given; empty if that is more than a packet."""


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
        self.grant: Grant | None = None
        """What the task that it runs holds, and whoever is in line will."""
        self.calls: dict[Plan, Any] = {}
        """What is remembered of the commands that it runs."""
        self._warden = warden
        self._channel, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(1 + AHEAD)]
        self._printed = [printed for printed, _ in pipes]
        self._prints = [prints for _, prints in pipes]
        for printed in self._printed:
            os.set_blocking(printed, False)
        self._free_pipes = deque(range(len(pipes)))
        self._replies = framing.Replies(0)
        self._numbers = itertools.count(1)
        self._tail = 0
        """Number of the last task that it was given and that was not recalled …"""
        self._environment = recipes.known(kind.recipe)
        """… and its environment."""
        self._line: deque[Job] = deque()
        """The task that it runs, and those in line."""
        self._current: Job | None = None
        self._began_at = 0.0
        self._unsent: deque[bytes] = deque()
        self._large = False
        """Whether the last message was more than a packet: then part of it can be taken back, and nobody is in line."""
        self._dead = self._closed = False
        self.exit = Exit(signal=_SIGKILL)
        """How it has ended, when it has."""
        self._last: framing.Reply | None = None
        """What it said of a task with which it ends."""

    async def start(self, order: dict[str, Any]) -> None:
        """Raises OSError when its warden is known to be dead."""
        try:
            self._warden.run(order, self._theirs.fileno(), *self._prints)
        finally:
            for prints in self._prints:
                os.close(prints)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, self._listen)
        for pipe, printed in enumerate(self._printed):
            loop.add_reader(printed, self._read, pipe)

    async def live(self) -> None:
        """Returns when it has ended and nothing of it is left."""
        try:
            self.exit = await self._warden.ended(self.directory)
            self._listen()
        finally:
            self.ended = self._dead = True
            self.recall()
            for pipe in range(len(self._printed)):
                self._read(pipe)
            self._close()
            self._warden.give_back()
        jobs, self._line = self._line, deque()
        for job in jobs:
            job.ended(self.exit, self._last if job is self._current else None)
        await asyncio.to_thread(datadir.remove, self.directory)

    def _close(self) -> None:
        self._closed = True
        loop = asyncio.get_running_loop()
        for each in (self._channel.fileno(), *self._printed):
            loop.remove_reader(each)
        loop.remove_writer(self._channel)
        self._channel.close()
        self._theirs.close()
        for printed in self._printed:
            os.close(printed)

    def discard(self) -> None:
        """It is needed no more: it ends by itself."""
        self.ended = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        """Ends it, with the task that it has: SIGTERM, after its grace SIGKILL."""
        self.ended = True
        self._warden.stop()

    def stop(self, job: Job) -> None:
        """Ends a task, and the process with it, unless the task has ended. Nobody else is hurt."""
        self._listen()
        self.recall()
        self._listen()  # who could not be recalled has begun, and before that the last has told its end
        if self._current is job:
            self.end()

    # ----------------------------------------------------------------------------------------------------------- tasks

    def give(self, job: Job) -> None:
        """Has a task run: at once, or when those before it have ended. In line only while there is `room`."""
        if self._closed:  # it has ended before it had anything to do
            asyncio.get_running_loop().call_soon(job.ended, self.exit, None)
            return
        self.tasks += 1
        job.pipe = self._free_pipes.popleft()
        changes = recipes.changes(self._environment, job.environment)
        job.number = next(self._numbers)
        place = {"number": job.number, "after": self._tail, "furnish": self.tasks == 1, "log": job.pipe}
        self._tail, self._environment = job.number, job.environment
        self._line.append(job)
        packets = framing.packets(framing.request({**job.header, "environment": changes, **place}, job.inputs))
        self._large = len(packets) > 1
        job.message = b"" if self._large else packets[0]
        self._unsent.extend(packets)
        self._send()
        if self._current is None:
            self._begin()

    @property
    def room(self) -> int:
        """How many more may be in line."""
        if self.ended or self._large or self._current is None or self.takes_long:
            return 0
        return len(self._free_pipes)

    @property
    def in_line(self) -> int:
        """How many tasks are behind the one that runs."""
        return max(0, len(self._line) - 1)

    @property
    def in_use(self) -> bool:
        """Whether it has anything to do."""
        return len(self._line) > 0

    @property
    def takes_long(self) -> bool:
        return asyncio.get_running_loop().time() - self._began_at > LONG_SECONDS

    def recall(self) -> None:
        """Takes back who is in line, last first."""
        if self._large or len(self._line) < (1 if self._dead else 2):
            return
        taken = self._take_back()
        stay = list(itertools.takewhile(lambda job: job.message not in taken, self._line))
        if not stay and not self._dead:
            # It has not even taken what it is to run now, and takes nothing that follows it.
            stay = [self._line[0]]
            self._unsent.append(self._line[0].message)
            self._send()
        recalled = [self._line.pop() for _ in range(len(self._line) - len(stay))]
        self.tasks -= len(recalled)
        if stay:
            self._tail, self._environment = stay[-1].number, stay[-1].environment
        for job in recalled:
            self._free_pipes.append(job.pipe)
            job.recalled()

    def _take_back(self) -> set[bytes]:
        """The messages that the process does not have, and will not get; one packet each, or nobody is in line."""
        messages: set[bytes] = set()
        while len(messages) < len(self._line):
            try:
                message = self._theirs.recv(_PIECE_BYTES, socket.MSG_DONTWAIT)
            except OSError:
                break
            if not message:
                break
            messages.add(message)
        messages.update(self._unsent)
        self._unsent.clear()
        asyncio.get_running_loop().remove_writer(self._channel)
        return messages

    def _begin(self) -> None:
        self._current = job = self._line[0]
        self._replies = framing.Replies(job.limit)
        self._began_at = asyncio.get_running_loop().time()
        job.begun()

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                self._channel.send(self._unsent[0])
                self._unsent.popleft()
        except BlockingIOError:
            loop.add_writer(self._channel, self._send_rest)
        except OSError:
            self._unsent.clear()
            self.end()  # it does not read: what becomes of it says why

    def _send_rest(self) -> None:
        asyncio.get_running_loop().remove_writer(self._channel)
        self._send()

    def _listen(self) -> None:
        """Hears of all tasks that have ended."""
        while not self._closed:
            try:
                data = self._channel.recv(_PIECE_BYTES)
                reply = self._replies.feed(data) if data else None
            except BlockingIOError:
                return
            except (OSError, framing.Broken) as problem:
                if isinstance(problem, framing.Broken):
                    logger.warning("a task process is ended: %s", problem)
                    self.recall()
                    self.end()
                data, reply = b"", None
            if not data:
                asyncio.get_running_loop().remove_reader(self._channel)
                return
            if reply is not None and self._line:
                self._hear(self._line[0], reply)
                if not self._line:
                    return  # there is nothing that it could have more to say about

    def _hear(self, job: Job, reply: framing.Reply) -> None:
        if reply.leak:
            self.ended = True
            self._last = reply
            self.recall()
            return  # it ends, and so does the task
        self._read(job.pipe)
        self._free_pipes.append(job.pipe)
        self._line.popleft()
        self._current = None
        if self._line:
            self._begin()
        job.ended(Exit(code=reply.code), reply)

    def _read(self, pipe: int) -> None:
        """Takes what was printed so far into a pipe; without a task it is nobody's."""
        job = next((job for job in self._line if job.pipe == pipe), None)
        while True:
            try:
                data = os.read(self._printed[pipe], _PIECE_BYTES)
            except OSError:
                return  # nothing for now
            if not data:
                asyncio.get_running_loop().remove_reader(self._printed[pipe])
                return
            if job is not None:
                job.printed(data)
            if len(data) < _PIECE_BYTES:
                return
