"""A pool of asyncio workers: it bounds how many jobs run at once, not how many wait.

`submit` therefore never blocks and never refuses; whoever submits has to know a bound for what may be waiting (a
queue's credits, say). Jobs start in the order in which they were submitted.

Guarantees: at most `size` jobs run at a time; a worker exists only while it has work or has had some within the last
`idle_seconds`, so that an idle pool retires to nothing; a job's failure goes to the handler and harms nobody else.
`stop` drops what waits and lets what runs finish; `stop_wait` lets all of it finish. Either may be cancelled, by a
grace period for instance, and followed by `cancel`. Leaving the `async with` block is `stop_wait`; leaving it by an
exception is `cancel`.

Not guaranteed: fairness towards the event loop by a job that computes, and context variables: a job runs in its
worker's context, not in its submitter's.

The workers are persistent tasks fed from a deque, because a task per job costs six to ten times as much. A worker with
a backlog goes from job to job without passing through the event loop, so it gives way after a few.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

Job = Callable[..., Awaitable[Any]]
ErrorHandler = Callable[[BaseException], None]

# Jobs that never really wait would keep the loop from everything else: after this many a worker lets others in.
_JOBS_IN_A_ROW = 16


class PoolStopped(RuntimeError):
    """The worker pool has been stopped: the job was not and will not be started."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


class _Work(NamedTuple):
    """A job in line. `result` is where `submit_wait` waits for it."""

    job: Job
    args: tuple[Any, ...]
    result: asyncio.Future[Any] | None


class _Idle(NamedTuple):
    """A worker that sleeps: resolving `woken` with False retires it."""

    since: float
    woken: asyncio.Future[bool]


def log_error(error: BaseException) -> None:
    """The default error handler."""
    _log.error("a job of a worker pool failed", exc_info=error)


class WorkerPool:
    """Runs jobs on at most `size` workers.

    Args:
        size: how many jobs may run at once. Choose useful parallelism, not the number of jobs admitted.
        name: prefix of the workers' task names.
        on_error: told of every exception of a job that nobody waits for. Must not raise.
        idle_seconds: how long a worker without work is kept.
    """

    def __init__(
        self, size: int, *, name: str = "pool", on_error: ErrorHandler = log_error, idle_seconds: float = 2.0
    ) -> None:
        if size < 1:
            raise ValueError(f"a pool needs at least one worker, not {size}")
        self._size = size
        self._name = name
        self._on_error = on_error
        self._idle_seconds = idle_seconds
        self._waiting: deque[_Work] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: deque[_Idle] = deque()
        """Workers that sleep, the longest asleep first; the last one is woken first, so that the others can retire."""
        self._retirement: asyncio.TimerHandle | None = None
        self._started = 0
        self._stopped = False

    @property
    def size(self) -> int:
        """How many jobs may run at once."""
        return self._size

    @property
    def workers(self) -> int:
        """How many workers exist now, busy or not."""
        return len(self._workers)

    @property
    def running(self) -> int:
        """How many workers are busy now."""
        return len(self._workers) - len(self._idle)

    @property
    def waiting_queue_size(self) -> int:
        """How many jobs have not been started."""
        return len(self._waiting)

    @property
    def stopped(self) -> bool:
        """Whether jobs are refused: `stop`, `stop_wait` or `cancel` has been called."""
        return self._stopped

    def submit(self, job: Job, *args: Any) -> None:
        """Puts `job(*args)` at the end of the line. Raises PoolStopped when the pool has been stopped."""
        self._put(_Work(job, args, None))

    async def submit_wait(self, job: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Like `submit`, and waits for what the job returns or raises.

        A caller that is cancelled takes its job out of the line; a job that runs already is not cancelled with it.

        Raises:
            PoolStopped: the pool had been stopped, or was before the job could start.
        """
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Work(job, args, result))
        return await result

    async def stop(self) -> None:
        """Takes no more jobs, drops those that wait, and returns when those that run have ended."""
        self._stopped = True
        self._drop_waiting()
        await self._until_workers_end()

    async def stop_wait(self) -> None:
        """Takes no more jobs and returns when all that were submitted have ended."""
        self._stopped = True
        await self._until_workers_end()

    async def cancel(self) -> None:
        """Takes no more jobs, drops those that wait, cancels those that run, and returns when these have ended."""
        self._stopped = True
        self._drop_waiting()
        self._dismiss_sleepers()
        for worker in self._workers:
            worker.cancel()
        await self._until_workers_end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            await self.cancel()
            return
        try:
            await self.stop_wait()
        except asyncio.CancelledError:
            await self.cancel()
            raise

    def _put(self, work: _Work) -> None:
        if self._stopped:
            raise PoolStopped
        self._waiting.append(work)
        if self._idle:
            self._idle.pop().woken.set_result(True)
        elif len(self._workers) < self._size:
            self._hire()

    def _hire(self) -> None:
        self._started += 1
        worker = asyncio.create_task(self._work(), name=f"{self._name}-{self._started}")
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """A worker's life."""
        in_a_row = 0
        while True:
            while self._waiting:
                await self._run(self._waiting.popleft())
                in_a_row += 1
                if in_a_row == _JOBS_IN_A_ROW:
                    in_a_row = 0
                    await asyncio.sleep(0)
            if self._stopped or not await self._sleep():
                return

    async def _run(self, work: _Work) -> None:
        if work.result is not None and work.result.done():
            return  # whoever waited has gone
        try:
            value = await work.job(*work.args)
        except asyncio.CancelledError as error:
            self._settle(work, error)
            if _current_task_is_cancelled():
                raise
        except Exception as error:
            self._settle(work, error)
        else:
            if work.result is not None and not work.result.done():
                work.result.set_result(value)

    def _settle(self, work: _Work, error: BaseException) -> None:
        """Tells whoever is concerned that the job failed."""
        if work.result is None:
            if not (isinstance(error, asyncio.CancelledError) and _current_task_is_cancelled()):
                self._report(error)
        elif work.result.done():
            pass
        elif isinstance(error, asyncio.CancelledError):
            work.result.cancel()
        else:
            work.result.set_exception(error)

    def _report(self, error: BaseException) -> None:
        try:
            self._on_error(error)
        except Exception:
            _log.exception("the error handler of worker pool %s failed", self._name)

    async def _sleep(self) -> bool:
        """Waits for work. Returns whether to go on; False is retirement."""
        loop = asyncio.get_running_loop()
        idle = _Idle(loop.time(), loop.create_future())
        self._idle.append(idle)
        if self._retirement is None:
            self._retirement = loop.call_later(self._idle_seconds, self._retire)
        try:
            return await idle.woken
        except asyncio.CancelledError:
            if idle in self._idle:
                self._idle.remove(idle)
            raise

    def _retire(self) -> None:
        """Ends the workers that have slept long enough, and comes back when the next one will have."""
        self._retirement = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._idle and self._idle[0].since + self._idle_seconds <= now:
            self._idle.popleft().woken.set_result(False)
        if self._idle:
            self._retirement = loop.call_at(self._idle[0].since + self._idle_seconds, self._retire)

    def _drop_waiting(self) -> None:
        while self._waiting:
            result = self._waiting.popleft().result
            if result is not None and not result.done():
                result.set_exception(PoolStopped())

    def _dismiss_sleepers(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        while self._idle:
            self._idle.popleft().woken.set_result(False)

    async def _until_workers_end(self) -> None:
        """Dismisses the workers that sleep and waits for the others. Cancelling the wait cancels no worker."""
        self._dismiss_sleepers()
        while self._workers:
            await asyncio.wait(self._workers)


def _current_task_is_cancelled() -> bool:
    """Whether a CancelledError is meant for the worker, rather than raised by its job."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
