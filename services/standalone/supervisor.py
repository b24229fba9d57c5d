"""Starts programs as processes, knows when they are healthy, starts them again when they die, stops them in order.

Guarantees
- A program is *ready* once it said so, or its probe answered; `start` returns then. One that ends before it was ever
  ready is not tried again: its configuration is wrong, and the end of its log says how.
- One that ends after it was ready is started again, at once the first time; from then on its starts are further and
  further apart.
- No child outlives the supervisor, even one that is killed (`lifeline`), nor the `async with` block.
- Children are sessions of their own, so Ctrl-C on the terminal reaches the supervisor only.

Not guaranteed: that a restarted program answers by any time; its own clients wait for it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from libs.runtime.backoff import Backoff
from libs.runtime.together import first_to_end, within
from services.standalone import lifeline
from services.standalone.readiness import Ear
from services.standalone.settings import CannotStart

PROBE_INTERVAL_SECONDS = 0.05
"""How often a starting process is asked whether it is ready; its start costs far more than the asking."""
STEADY_AFTER_SECONDS = 30.0
"""A process that lived this long was well: its next restart is immediate again."""
RESTART_SECONDS = 0.2
"""From the start of one that has died more than once to its next start at least; it doubles."""
RESTART_CAP_SECONDS = 2.0
"""The longest that this grows to. A start costs half a second of processor time, so more often would be felt; less
often, and whoever has repaired the cause waits for nothing."""
LOG_TAIL_LINES = 15
LOG_TAIL_COLUMNS = 300
"""How much of its log is shown when a program cannot start."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to tell that it is well."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    """Receives standard output and error."""
    probe: Callable[[], Awaitable[bool]] | None = None
    """Whether it answers now; quick, and never raises. None: the program itself says when it is ready."""
    address: str = ""
    """`host:port` that it listens on, for people."""
    grace_seconds: float = 10.0
    """How long an ordered stop may take before it is killed."""


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


@dataclass(slots=True)
class Child:
    """A program and the process that runs it at the moment."""

    program: Program
    process: asyncio.subprocess.Process
    ear: Ear
    """Hears what that process says of itself."""
    state: State = State.STARTING
    restarts: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Its end is wanted: it is not started again."""
    was_ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Its process has ended and will not be started again."""


class Supervisor:
    """Owns child processes for the length of an `async with` block."""

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        """`say` gets a line for people when something goes wrong; `changed` is called when a child's state changed."""
        self._say = say
        self._changed = changed
        self._tasks = asyncio.TaskGroup()
        self.children: dict[str, Child] = {}

    async def __aenter__(self) -> Supervisor:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing that was started survives: what an ordered stop left is killed.

        The keepers end with their processes, so the group is left without cancelling them, and an exception of the
        block goes on as it is.
        """
        self.kill()
        await self._tasks.__aexit__(None, None, None)

    async def start(self, program: Program, deadline_seconds: float = 60.0) -> None:
        """Runs the program and returns when it is ready. Raises `CannotStart` with the end of its log."""
        child = Child(program, *await _spawn(program))
        self.children[program.name] = child
        self._tasks.create_task(self._keep(child), name=f"keep {program.name}")
        await within(deadline_seconds, first_to_end(ready=child.was_ready.wait(), gone=child.gone.wait()))
        if child.gone.is_set() and not child.stopping.is_set():
            raise CannotStart(f"{program.name} {_ending(child.process.returncode)}:\n{_tail(program.log)}")
        if not child.was_ready.is_set() and not child.stopping.is_set():
            raise CannotStart(f"{program.name} did not answer within {deadline_seconds:.0f} s:\n{_tail(program.log)}")

    async def stop(self, names: Iterable[str]) -> None:
        """Asks the named children to end, all at once, and kills those that take longer than their grace."""
        stopping = [self.children[name] for name in names if name in self.children]
        for child in stopping:
            child.stopping.set()
            _signal(child, signal.SIGTERM)
        await asyncio.gather(*(self._wait_or_kill(child) for child in stopping))

    def kill(self) -> None:
        """Kills every child at once."""
        for child in self.children.values():
            child.stopping.set()
            _signal(child, signal.SIGKILL)

    async def _wait_or_kill(self, child: Child) -> None:
        if not await within(child.program.grace_seconds, child.gone.wait()):
            self._say(f"{child.program.name} did not stop within {child.program.grace_seconds:.0f} s and is killed")
            _signal(child, signal.SIGKILL)
            await child.gone.wait()

    async def _keep(self, child: Child) -> None:
        """Runs until the child is not wanted any more, or never became ready."""
        backoff = Backoff(base_seconds=RESTART_SECONDS, cap_seconds=RESTART_CAP_SECONDS)
        try:
            while True:
                began = time.monotonic()
                code = await self._attend(child)
                if child.stopping.is_set() or not child.was_ready.is_set():
                    return
                lived, pause = time.monotonic() - began, 0.0
                if lived >= STEADY_AFTER_SECONDS or child.restarts == 0:
                    backoff.reset()
                else:
                    pause = max(0.0, backoff.next() - lived)
                self._say(f"{child.program.name} {_ending(code)}; starting it again (log: {child.program.log})")
                if await within(pause, child.stopping.wait()):
                    return
                child.ear.close()
                child.process, child.ear = await _spawn(child.program)
                child.restarts += 1
                if child.stopping.is_set():  # while it was being started, so its signal went to the old process
                    _signal(child, signal.SIGKILL)
        finally:
            child.ear.close()
            self._enter(child, State.DOWN)
            child.gone.set()

    async def _attend(self, child: Child) -> int:
        """Watches one process of the child from its start to its end and returns its exit code."""
        self._enter(child, State.STARTING)
        probing = asyncio.create_task(self._probe(child), name=f"probe {child.program.name}")
        try:
            return await child.process.wait()
        finally:
            probing.cancel()
            self._enter(child, State.DOWN)

    async def _probe(self, child: Child) -> None:
        if child.program.probe is None:
            await child.ear.ready()
        else:
            while not await child.program.probe():  # noqa: ASYNC110  (what is waited for happens in another process)
                await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        self._enter(child, State.READY)
        child.was_ready.set()

    def _enter(self, child: Child, state: State) -> None:
        if child.state is not state:
            child.state = state
            self._changed()


async def _spawn(program: Program) -> tuple[asyncio.subprocess.Process, Ear]:
    ear = Ear()
    try:
        with program.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *lifeline.tied(*program.argv),
                env={**program.environ, **ear.environ},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except BaseException:
        ear.close()
        raise
    return process, ear


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process.returncode is None:
        child.process.send_signal(number)


def _ending(code: int | None) -> str:
    if code is None:
        return "does not run"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _tail(log: Path) -> str:
    """The end of a log, where it tells what went wrong: etcd says that first and then prints the stacks of a panic."""
    said, _, _ = log.read_text(errors="replace").partition("\n\ngoroutine ")
    lines = said.splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(f"    {line[:LOG_TAIL_COLUMNS]}" for line in lines) or f"    (nothing in {log})"
