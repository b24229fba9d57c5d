"""A pacer: lets callers through one at a time, and no two of them sooner than an interval after each other.

It knows nothing of pools. A paced job may be submitted to one or to several pools or be awaited as it is, and the pace
holds over all of them::

    pacer = Pacer(0.1)
    pool.submit(pacer.pace(job), argument)  # no more than ten starts a second

Guarantees: first come, first served; the first turn is immediate; turns that nobody took are not saved up for a burst;
a caller that is cancelled gives its turn to the next; nobody is left waiting by `stop`.

Not guaranteed: that a caller acts at once when its turn has come, which is up to the event loop. A paced job occupies
its worker while it waits for its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PacerStopped(RuntimeError):
    """The pacer has been stopped: there are no more turns."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


class Pacer:
    """Gives turns, at least `interval_seconds` apart."""

    def __init__(self, interval_seconds: float) -> None:
        if interval_seconds < 0:
            raise ValueError(f"an interval cannot be negative: {interval_seconds}")
        self._interval_seconds = interval_seconds
        self._callers: deque[asyncio.Future[None]] = deque()
        self._next_turn = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._stopped = False

    @property
    def paused(self) -> bool:
        """Whether no turns are given until `resume`."""
        return self._paused

    @property
    def stopped(self) -> bool:
        """Whether there are no more turns."""
        return self._stopped

    async def next(self) -> None:
        """Returns when it is the caller's turn. Raises PacerStopped when there will be none."""
        if self._stopped:
            raise PacerStopped
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._callers.append(turn)
        self._arrange()
        await turn

    def pace(self, job: Callable[[*Ts], Awaitable[T]]) -> Callable[[*Ts], Awaitable[T]]:
        """Returns a job that waits for its turn and then does `job`."""

        async def paced(*args: *Ts) -> T:
            await self.next()
            return await job(*args)

        return paced

    def pause(self) -> None:
        """Gives no turns until `resume`. Does nothing when paused."""
        self._paused = True
        self._disarm()

    def resume(self) -> None:
        """Gives turns again, the next one as soon as the interval allows. Does nothing when not paused."""
        self._paused = False
        self._arrange()

    def stop(self) -> None:
        """Gives no more turns: who waits for one, or asks later, gets PacerStopped."""
        self._stopped = True
        self._disarm()
        while self._callers:
            turn = self._callers.popleft()
            if not turn.done():
                turn.set_exception(PacerStopped())

    def _arrange(self) -> None:
        """Gives the turn that is due, and sees that the next one will be given."""
        if self._paused or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        while self._callers and (self._callers[0].done() or self._next_turn <= loop.time()):
            turn = self._callers.popleft()
            if not turn.done():
                turn.set_result(None)
                self._next_turn = loop.time() + self._interval_seconds
        if self._callers:
            self._timer = loop.call_at(self._next_turn, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._arrange()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
