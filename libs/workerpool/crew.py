"""The workers: persistent tasks that do what is next, sleep when there is nothing, and retire.

Persistent, because a task for each job costs several times as much. A worker with a backlog goes from job to job
without passing through the event loop: a stint, after which it gives way.

Only as many are brought to work as get stuck in their jobs. Jobs that never wait are all done by one worker, however
many there may be; for each worker that waits within a job another one takes over. Whether one waits is not asked job by
job, which would cost more than the job: the look-out, a callback that comes once in each turn of the loop while there
is a backlog, sees that nobody is left who goes through the line, and brings a few.

Guarantees: there are never more workers than the size, but for those that finish a job after the size has shrunk.
While jobs wait and there is room, somebody goes through the line, or will in the next turn of the loop. Who fell
asleep last is woken first, so the cost is the same however many sleep, and the others can retire, down to none.

A worker that has been dismissed counts no more from that moment, although its task lives for one more turn of the
loop: otherwise work that comes in between would find the crew complete, and nobody would do it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import NamedTuple

# How many the look-out brings in one turn of the loop. More are too many when the next jobs do not wait; with fewer it
# takes many turns until a burst of jobs that do wait has its workers.
_AT_ONCE = 16


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
        waiting: how many jobs could be started now.
        stint: does jobs one after the other and returns whether there may be more, so that the worker comes back after
            giving way. What it raises ends the worker.
    """

    def __init__(
        self,
        size: int,
        name: str,
        idle_seconds: float | None,
        waiting: Callable[[], int],
        stint: Callable[[asyncio.Task[None]], Awaitable[bool]],
    ) -> None:
        self._size = size
        self._name = name
        self._idle_seconds = idle_seconds
        self._waiting = waiting
        self._stint = stint
        self._context = copy_context()
        """What workers run in: the pool's surroundings, not those of whoever submitted when a worker was needed."""
        self._workers: set[asyncio.Task[None]] = set()
        self._dismissed: set[asyncio.Task[None]] = set()
        """Workers that count no more and whose tasks have not ended yet."""
        self._looking: set[asyncio.Task[None]] = set()
        """Workers that will go through the line as soon as the loop comes to them: hired, woken or giving way."""
        self.looked_out = False
        """Whether the look-out comes in the next turn of the loop. Then a call is not needed."""
        self._sleepers: deque[_Sleeper] = deque()
        """The longest asleep first. May hold some that were cancelled in their sleep."""
        self._retirement: asyncio.TimerHandle | None = None
        self.too_many = False
        """Whether there are more workers than there may be: who has ended a job leaves."""
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
        """Sees to it that what waits is done, while there is room: somebody goes through the line, and if that one gets
        stuck, others."""
        if not self.looked_out and (self._looking or self._bring()):
            self.looked_out = True
            asyncio.get_running_loop().call_soon(self._look_out)

    def resize(self, size: int) -> None:
        """Changes how many workers there may be. Sleepers too many are dismissed; others leave after their job."""
        self._size = size
        while self._sleepers and len(self._workers) > size:
            self._dismiss(self._sleepers.popleft())
        self._count()

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

    # -------------------------------------------------------------------------------------------------- the look-out

    def _look_out(self) -> None:
        """Comes after the workers of this turn. When none of them looks any more, they are all stuck in their jobs."""
        self.looked_out = False
        waiting = self._waiting()
        if waiting and not self._looking:
            for _ in range(min(waiting, _AT_ONCE)):
                if not self._bring():
                    break
        if waiting and self._looking:
            self.looked_out = True
            asyncio.get_running_loop().call_soon(self._look_out)

    def _bring(self) -> bool:
        """Wakes who fell asleep last, or hires while there is room. Returns whether there is one more."""
        while self._sleepers:
            sleeper = self._sleepers.pop()
            if not sleeper.woken.done():
                sleeper.woken.set_result(True)
                self._looking.add(sleeper.worker)
                return True
        if len(self._workers) < self._size:
            self._hire()
            return True
        return False

    def _hire(self) -> None:
        self._hired += 1
        worker = asyncio.get_running_loop().create_task(
            self._work(), name=f"{self._name}-{self._hired}", context=self._context.copy()
        )
        self._workers.add(worker)
        self._looking.add(worker)
        worker.add_done_callback(self._left)

    # --------------------------------------------------------------------------------------------- a worker's life

    def _left(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._dismissed.discard(worker)
        self._looking.discard(worker)
        self._count()
        if not worker.cancelled():
            worker.exception()  # only SystemExit and its like, which the loop has raised already
        if not self._closed and self._waiting():
            self.call()  # somebody has cancelled this worker, and others may be stuck

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            await self._work_until_dismissed(me)
        finally:
            self._workers.discard(me)
            self._dismissed.add(me)
            self._count()

    async def _work_until_dismissed(self, me: asyncio.Task[None]) -> None:
        while True:
            self._looking.discard(me)
            is_at_work = await self._stint(me)
            if me.cancelling() or self.too_many:
                return  # its last job ended well in spite of a cancellation, but the worker is meant too
            if is_at_work:
                self._looking.add(me)
                await asyncio.sleep(0)
            elif self._closed or not await self._sleep(me):
                return

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
            self._count()

    def _count(self) -> None:
        """There are fewer workers now, or there may be."""
        self.too_many = len(self._workers) > self._size

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
