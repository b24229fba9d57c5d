"""The workers: persistent tasks that take what is next, sleep when there is nothing, and retire.

Persistent, because a task for each job costs several times as much. A worker with a backlog goes from job to job
without passing through the event loop, so it gives way after a few.

Guarantees: there are never more workers than the size, but for those that finish a job after the size has shrunk. A
call that comes while there is room wakes or hires a worker that is not dismissed before it has looked for work. It
wakes the one that fell asleep last, so the cost is the same however many sleep, and the others can retire, down to
none.

A worker that has been dismissed counts no more from that moment, although its task lives for one more turn of the
loop: otherwise work that comes in between would find the crew complete, and nobody would do it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import NamedTuple

from libs.workerpool.line import Work

# Jobs that never really wait would keep the loop from everything else: after this many a worker lets others in.
_JOBS_IN_A_ROW = 16


class _Sleeper(NamedTuple):
    """A worker that sleeps: resolving `woken` with False dismisses it."""

    worker: asyncio.Task[None]
    since: float
    woken: asyncio.Future[bool]


class Crew:
    """At most `size` workers.

    Args:
        size: how many there may be.
        name: prefix of their tasks' names.
        idle_seconds: how long a worker sleeps before it retires; None is for ever.
        take: gives the next job, or None. Must not wait.
        perform: does a job. What it raises ends the worker.
    """

    def __init__(
        self,
        size: int,
        name: str,
        idle_seconds: float | None,
        take: Callable[[], Work | None],
        perform: Callable[[Work, asyncio.Task[None]], Awaitable[None]],
    ) -> None:
        self._size = size
        self._name = name
        self._idle_seconds = idle_seconds
        self._take = take
        self._perform = perform
        self._context = copy_context()
        """What workers run in: the pool's surroundings, not those of whoever submitted when a worker was needed."""
        self._workers: set[asyncio.Task[None]] = set()
        self._dismissed: set[asyncio.Task[None]] = set()
        """Workers that count no more and whose tasks have not ended yet."""
        self._sleepers: deque[_Sleeper] = deque()
        """The longest asleep first. May hold some that were cancelled in their sleep."""
        self._retirement: asyncio.TimerHandle | None = None
        self._hired = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, task: asyncio.Task[object] | None) -> bool:
        return task in self._workers

    @property
    def size(self) -> int:
        """How many workers there may be."""
        return self._size

    def call(self) -> None:
        """Somebody look for work: wakes who fell asleep last, or hires while there is room."""
        while self._sleepers:
            woken = self._sleepers.pop().woken
            if not woken.done():
                woken.set_result(True)
                return
        if len(self._workers) < self._size:
            self._hire()

    def resize(self, size: int) -> None:
        """Changes how many workers there may be. Sleepers too many are dismissed; others leave after their job."""
        self._size = size
        while self._sleepers and len(self._workers) > size:
            self._dismiss(self._sleepers.popleft())

    def close(self) -> None:
        """From now on a worker that finds nothing to do leaves."""
        self._closed = True
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        while self._sleepers:
            self._dismiss(self._sleepers.popleft())

    def cancel(self) -> None:
        """Cancels all workers, and with them the jobs they do."""
        for worker in self._workers:
            worker.cancel()

    async def ended(self) -> None:
        """Waits until there is no worker. Cancelling the wait cancels none of them."""
        while tasks := self._workers | self._dismissed:
            await asyncio.wait(tasks)

    # --------------------------------------------------------------------------------------------- a worker's life

    def _hire(self) -> None:
        self._hired += 1
        worker = asyncio.get_running_loop().create_task(
            self._work(), name=f"{self._name}-{self._hired}", context=self._context.copy()
        )
        self._workers.add(worker)
        worker.add_done_callback(self._left)

    def _left(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._dismissed.discard(worker)
        if not worker.cancelled():
            worker.exception()  # only SystemExit and its like, which the loop has raised already

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            await self._work_until_dismissed(me)
        finally:
            self._workers.discard(me)
            self._dismissed.add(me)

    async def _work_until_dismissed(self, me: asyncio.Task[None]) -> None:
        in_a_row = 0
        while len(self._workers) <= self._size:
            work = self._take()
            if work is None:
                in_a_row = 0
                if self._closed or not await self._sleep(me):
                    return
                continue
            await self._perform(work, me)
            if me.cancelling():
                return  # the job ended well in spite of it, but the worker is meant too
            in_a_row += 1
            if in_a_row == _JOBS_IN_A_ROW:
                in_a_row = 0
                await asyncio.sleep(0)

    async def _sleep(self, me: asyncio.Task[None]) -> bool:
        """Waits for work. Returns whether to go on."""
        loop = asyncio.get_running_loop()
        sleeper = _Sleeper(me, loop.time(), loop.create_future())
        self._sleepers.append(sleeper)
        if self._retirement is None and self._idle_seconds is not None:
            self._retirement = loop.call_later(self._idle_seconds, self._retire)
        return await sleeper.woken

    def _dismiss(self, sleeper: _Sleeper) -> None:
        if not sleeper.woken.done():
            sleeper.woken.set_result(False)
            self._workers.discard(sleeper.worker)
            self._dismissed.add(sleeper.worker)

    def _retire(self) -> None:
        """Dismisses the workers that have slept long enough, and comes back when the next one will have."""
        self._retirement = None
        if self._idle_seconds is None:
            return
        loop = asyncio.get_running_loop()
        enough = loop.time() - self._idle_seconds
        while self._sleepers and self._sleepers[0].since <= enough:
            self._dismiss(self._sleepers.popleft())
        if self._sleepers:
            self._retirement = loop.call_at(self._sleepers[0].since + self._idle_seconds, self._retire)
