"""An event loop without a clock, threads or files: time jumps to the next timer when nothing is ready.

Every callback belongs to a simulated process, or to the world around them. One that is paused (SIGSTOP, a machine that
swaps) does not run until it is resumed, however much time goes by; one that is killed has its tasks cancelled, with
everything that it could still do to the world cut off.

The order in which things happen is a function of the dice alone: tasks are hashed by number, so that sets of them have
an order, and what would run in a thread runs here, a little later.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TURN_SECONDS = 1e-6
"""What a turn of the loop takes: a timer that comes a little too early comes again."""

_BUSY = 20_000
"""So many callbacks without a pause mean that something waits for itself."""

_IDLE_SECONDS = 1e-4
"""A pause."""


class Process:
    """What can be paused and killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.dead = False
        self.held: list[events.Handle] = []
        """What would have run while it was paused."""
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def __repr__(self) -> str:
        return self.name


_OWNER: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current() -> Process | None:
    """Whose code is running; None for the world's."""
    return _OWNER.get()


class Spinning(Exception):
    """Much happens and no time goes by."""


class _Task(asyncio.Task[T]):
    """A task whose place in a set does not depend on its address."""

    _numbers = itertools.count()

    def __init__(self, coroutine: Any, **more: Any) -> None:
        self._number = next(_Task._numbers)
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `dice` draw how long calls in threads take."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._now = 0.0
        self._ran = 0
        self._dice = dice
        self._busy_until: dict[object, float] = {}
        _Task._numbers = itertools.count()

    # -------------------------------------------------------------------------------------- what asyncio asks of it

    def time(self) -> float:
        return self._now

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task: _Task[Any] = _Task(coro, loop=self, name=name, context=context)
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        if owner is not None:
            owner.tasks[task] = None
            task.add_done_callback(lambda done: owner.tasks.pop(done, None))
        return task

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        self._now += _TURN_SECONDS
        if not ready and timers and timers[0]._when > self._now:
            if timers[0]._when > self._now + _IDLE_SECONDS:
                self._ran = 0
            self._now = timers[0]._when
        while timers and timers[0]._when <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        if not ready:
            raise RuntimeError("nothing will ever happen any more")
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            owner = handle._context.get(_OWNER)
            if owner is not None and owner.paused:
                owner.held.append(handle)
                continue
            handle._run()
            if self._stopping:  # type: ignore[attr-defined]
                return
            self._ran += 1
            if self._ran > _BUSY and not self.leaving:
                raise Spinning(f"at {self._now:.6f}: {handle}")

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """It is left out when its time comes."""

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Calls given to one executor run one after the other; each leaves, is carried out, and comes back."""
        owner = _OWNER.get()
        answer: asyncio.Future[Any] = self.create_future()
        if owner is not None and owner.dead:
            answer.cancel()
            return answer
        leaves, returns = self._delays(executor)
        begin = max(self._now, self._busy_until.get(executor, 0.0)) + leaves
        if executor is not None:
            self._busy_until[executor] = begin
        # What is on its way already happens even if whoever sent it is stopped or dies.
        sent = self._dice.random() < 0.5
        context = contextvars.copy_context()
        if sent:
            context.run(_OWNER.set, None)
        self.call_at(begin, self._carry_out, owner, sent, answer, returns, func, args, context=context)
        return answer

    def _delays(self, executor: object) -> tuple[float, float]:
        """Most calls are short; those in threads of their own are those of databases, and may hang."""
        random = self._dice.random
        if executor is not None and random() < self.hanging:
            return random() * 8.0, random() * 2.0
        return random() * 0.002, random() * 0.001

    leaving = False
    """Set when all that is left is to end."""

    hanging = 0.0
    """How often a call of a database hangs for seconds."""

    def _carry_out(
        self,
        owner: Process | None,
        sent: bool,
        answer: asyncio.Future[Any],
        returns: float,
        func: Callable[..., Any],
        args: Any,
    ) -> None:
        if owner is not None and owner.dead and not sent:
            return
        back = contextvars.copy_context()
        back.run(_OWNER.set, owner)
        try:
            value = func(*args)
        except Exception as error:
            self.call_later(returns, _settle, answer, None, error, context=back)
        else:
            self.call_later(returns, _settle, answer, value, None, context=back)

    async def shutdown_default_executor(self) -> None:
        """There is none."""

    # ---------------------------------------------------------------------------------------------------- processes

    def start(self, process: Process, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine as a task of a process."""
        context = contextvars.Context()
        context.run(_OWNER.set, process)
        task: asyncio.Task[Any] = self.create_task(main, name=f"{process.name} main", context=context)
        return task

    def pause(self, process: Process) -> None:
        process.paused = True

    def resume(self, process: Process) -> None:
        """What it has missed happens now."""
        process.paused = False
        held, process.held = process.held, []
        self._ready.extend(held)  # type: ignore[attr-defined]

    def kill(self, process: Process) -> None:
        """It does nothing any more; what its tasks do on their way out reaches nobody."""
        process.dead = True
        self.resume(process)
        for task in list(process.tasks):
            task.cancel()

    def outside(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Something that happens in the world, whoever has caused it."""
        return self.call_later(delay, callback, *args, context=_WORLD.copy())


_WORLD = contextvars.Context()


def world_task(loop: VirtualLoop, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """A task of nobody's."""
    task: asyncio.Task[T] = loop.create_task(work, name=name, context=_WORLD.copy())
    return task


def _settle(answer: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
