"""Running one command with everything below it: the port, and the way it is done on Linux.

Guaranteed by `ProcessRunner`, whoever implements it: `Running.wait` returns only when no process of the attempt is
left, so that what it held (gpus above all) is free. By `SupervisedProcesses` moreover: when the executor dies,
however it dies, the attempt's processes are killed at once (see `bootstrap/supervisor.py` for what exactly).

The executor never forks itself: gRPC's threads are in it. It starts the supervisor, a fresh small interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from libs.blob import layout
from libs.runtime.clock import Clock
from libs.workflow import errors
from services.executor import datadir, processes
from services.executor.processes import ProcessId

if TYPE_CHECKING:
    from services.executor.wardens import Warden

logger = logging.getLogger(__name__)

_SUPERVISOR: Final = Path(__file__).with_name("bootstrap") / "supervisor.py"
_SIGKILL: Final = 9

# What one word or variable may have in bytes: the kernel's MAX_ARG_STRLEN without the zero at its end.
_LONGEST_WORD: Final = 32 * os.sysconf("SC_PAGE_SIZE") - 1


@dataclass(frozen=True, slots=True)
class Launch:
    """One command and its surroundings."""

    command: tuple[str, ...]
    """The first word is a path, or looked up in the PATH of `environment`."""
    environment: Mapping[str, str] = field(repr=False)  # secrets are in it
    """All of it: nothing of the executor's own environment is added."""
    directory: Path
    """Private to the attempt; the working directory lies in it."""
    working_directory: Path
    log: Path
    """stdout and stderr are appended here."""
    log_limit_bytes: int
    memory_limit_bytes: int = 0
    """0 is no limit."""
    kill_grace_seconds: float = 5.0
    uid: int | None = None
    gid: int | None = None
    descriptors: tuple[int, ...] = ()
    """Descriptors of this process that the command gets too, under their numbers."""
    warm: Warm | None = None
    """How the same is done in a process that is forked from a warm one. Who runs none so takes the command."""


@dataclass(frozen=True, slots=True)
class Warm:
    """flytekit's command as a call in a process that has imported what it needs."""

    warden: Warden
    """Who runs it, in directories that this has for one process after the other."""
    words: tuple[str, ...]
    """`pyflyte-execute …`, or that of a map; without the fetching of code."""
    inputs: bytes | None = field(repr=False)
    """None: they lie where the words say."""
    inline_limit: int
    """Outputs up to this size, in bytes, are handed back (`Exit.outputs`) and not written."""
    changes: Mapping[str, str | None] = field(repr=False)
    """What is not in the zygote's environment as the task is to find it: `Launch.environment`, and what the fetching of
    code adds. None is what it must not find.
    """
    configured: bool
    """Whether flytekit finds the same configuration in the zygote's environment: not where secrets are variables."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a zygote is made of: tasks with the same recipe are forked from the same one."""

    commands: Path
    """The `bin` of its Python environment."""
    environment: tuple[tuple[str, str], ...]
    """What tasks find in their environment, without what is an attempt's own. Sorted."""
    distribution: str
    """Where the code's archive lies; empty when the code is part of the environment."""
    version: str
    """Of code that is part of the environment; empty with a distribution, whose name changes with the code."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: `code` or `signal`, the other one is None; neither, where it was not started."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    """It was killed for using more than its limit, or by the kernel for want of memory."""
    outputs: bytes | None = field(default=None, repr=False)
    """What it handed back instead of writing it; None when its files say what came out."""
    deck: bool = False
    """Beside `outputs`: whether it has written a deck."""
    not_started: str = ""
    """Why it could not be started; empty when it was."""


class Running(Protocol):
    """A command that has been started."""

    @property
    def started_us(self) -> int:
        """When it started."""

    @property
    def process(self) -> ProcessId | None:
        """What to look for if the executor dies; None when there is no process."""

    async def wait(self) -> Exit:
        """Returns when the command and everything that it has started are gone."""

    def stop(self) -> None:
        """Asks all of it to end (SIGTERM), and after the grace makes it (SIGKILL). Returns at once; may be repeated."""


class ProcessRunner(Protocol):
    """Starts commands."""

    async def start(self, launch: Launch) -> Running:
        """Raises Unavailable when this machine cannot start it now, InvalidArgument when none ever can."""


class SupervisedProcesses:
    """Commands as processes of this machine, each under a supervisor of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def start(self, launch: Launch) -> Running:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            # In a thread: starting a process blocks for a millisecond or two. Shielded: a process that has been started
            # must have somebody who waits for it.
            popen = await asyncio.shield(asyncio.to_thread(_spawn, launch, theirs))
        except OSError as error:
            ours.close()
            if error.errno == errno.E2BIG:
                raise errors.InvalidArgument(_too_big(launch)) from error
            raise errors.Unavailable(f"cannot start a process: {error}") from error
        finally:
            theirs.close()
        return _SupervisedProcess(launch, popen, ours, self._clock.now_us())


def _too_big(launch: Launch) -> str:
    """What the kernel does not take (`execve`): one word or variable that is too long, or too much in all."""
    words = [("word", f"number {number}", len(os.fsencode(word))) for number, word in enumerate(launch.command)]
    pairs = [("variable", name, len(os.fsencode(f"{name}={value}"))) for name, value in launch.environment.items()]
    kind, name, size = max((*words, *pairs), key=lambda part: part[2])
    total = sum(part[2] for part in (*words, *pairs))
    return (
        f"container: command line and environment ({total} bytes) are larger than the system lets a process have;"
        f" the longest {kind}, {name}, has {size} bytes of at most {_LONGEST_WORD}: hand it over as an input instead"
    )


def _spawn(launch: Launch, control: socket.socket) -> subprocess.Popen[bytes]:
    arguments = (
        control.fileno(),
        launch.log,
        launch.log_limit_bytes,
        launch.memory_limit_bytes,
        launch.kill_grace_seconds,
        -1 if launch.uid is None else launch.uid,
        -1 if launch.gid is None else launch.gid,
    )
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR), *map(str, arguments), "--", *launch.command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=launch.environment,
        cwd=launch.working_directory,
        start_new_session=True,
        pass_fds=(control.fileno(), *launch.descriptors),
    )


class _SupervisedProcess:
    def __init__(self, launch: Launch, popen: subprocess.Popen[bytes], control: socket.socket, started_us: int) -> None:
        self._directory = launch.directory
        self._popen = popen
        self._control = control
        self._process = ProcessId.of(popen.pid)
        self._started_us = started_us

    @property
    def started_us(self) -> int:
        return self._started_us

    @property
    def process(self) -> ProcessId | None:
        return self._process

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, or it has been told so often that it can't miss it
            self._control.send(b"T")

    async def wait(self) -> Exit:
        try:
            last_words = await self._listen()
        finally:
            # Closing is the kill switch: whoever stops waiting, for whatever reason, leaves nothing behind.
            self._control.close()
        await asyncio.to_thread(self._popen.wait)
        if (ended := parse_exit(last_words)) is not None:
            return ended
        status = self._popen.returncode
        logger.error("the supervisor %d of %s died with status %s", self._popen.pid, self._directory, status)
        if not await processes.end_all(self._directory):
            logger.error("processes of %s do not end", self._directory)
        return Exit(signal=_SIGKILL)

    async def _listen(self) -> str:
        """Everything that the supervisor says until it is gone."""
        loop = asyncio.get_running_loop()
        said = b""
        while True:
            try:
                data = await loop.sock_recv(self._control, 4096)
            except ConnectionError:
                data = b""
            if not data:
                return said.decode(errors="replace")
            said += data


def parse_exit(said: str) -> Exit | None:
    """Reads the supervisor's last line; None when it died before it could say anything."""
    for line in said.splitlines():
        match line.split(" "):
            case ["ended", "exit", code, memory]:
                return Exit(code=int(code), out_of_memory=memory == "1")
            case ["ended", "signal", number, memory]:
                return Exit(signal=int(number), out_of_memory=memory == "1")
            case ["refused", *words]:
                return Exit(not_started="cannot start a process: " + " ".join(words))
    return None


def place_inputs(launch: Launch, inputs: bytes) -> None:
    """Writes the inputs to where the command line says. Raises Unavailable when the disk refuses."""
    datadir.place(launch.directory / "inputs" / layout.INPUTS, inputs, launch.uid, launch.gid)


def find_command(command: str, environment: Mapping[str, str], working_directory: Path) -> bool:
    """Whether `command` can be found as `Launch` says."""
    if "/" in command:
        return os.access(working_directory / command, os.X_OK)
    return any(os.access(Path(place) / command, os.X_OK) for place in environment.get("PATH", "").split(":") if place)
