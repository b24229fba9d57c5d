"""The pool: submitting, running, pausing and stopping jobs. See the package for what is guaranteed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

from libs.workerpool.contexts import run_in_context
from libs.workerpool.crew import Crew
from libs.workerpool.futures import JobFuture, PoolStopped
from libs.workerpool.line import Entry, Job, Line, Work
from libs.workerpool.lobby import Lobby
from libs.workerpool.pause import Pause

_log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Jobs that never wait would keep the loop from everything else: after this many a worker lets others in. A turn of the
# loop costs as much as a dozen jobs that do nothing.
_JOBS_IN_A_ROW = 48

ErrorHandler = Callable[[BaseException], None]


def log_error(error: BaseException) -> None:
    """The default error handler."""
    _log.error("a job of a worker pool failed", exc_info=error)


class WorkerPool:
    """Runs jobs on at most `size` workers.

    Args:
        size: how many jobs may run at once. Choose useful parallelism, not the number of jobs admitted.
        name: prefix of the workers' task names.
        on_error: told of every exception of a job that nobody waits for. Must not raise.
        idle_seconds: how long a worker without work is kept; None is for ever.
    """

    def __init__(
        self,
        size: int,
        *,
        name: str = "pool",
        on_error: ErrorHandler = log_error,
        idle_seconds: float | None = 2.0,
    ) -> None:
        _require_a_worker(size)
        self._name = name
        self._on_error = on_error
        self._line = Line()
        self._crew = Crew(size, name, idle_seconds, self._line_ready, self._stint)
        self._lobby = Lobby()
        self._pauses: deque[Pause] = deque()
        """Those that are not over, in the order of their bars in the line."""
        self._running = 0
        self._stopped = False

    # ------------------------------------------------------------------------------------------------- how it stands

    @property
    def size(self) -> int:
        """How many jobs may run at once."""
        return self._crew.size

    @property
    def workers(self) -> int:
        """How many workers exist now, busy or not."""
        return len(self._crew)

    @property
    def running(self) -> int:
        """How many jobs have been started and have not ended."""
        return self._running

    @property
    def waiting_queue_size(self) -> int:
        """How many jobs have not been started."""
        return len(self._line)

    @property
    def paused(self) -> bool:
        """Whether jobs that come now wait for a pause to end, even when it has not begun."""
        return self._line.barred

    @property
    def stopped(self) -> bool:
        """Whether jobs are refused: `stop`, `stop_wait` or `cancel` has been called."""
        return self._stopped

    # ---------------------------------------------------------------------------------------------------- submitting

    def submit(self, job: Callable[[*Ts], Awaitable[object]], *args: *Ts, context: Context | None = None) -> None:
        """Puts `job(*args)` at the end of the line. Never waits.

        Args:
            job: a coroutine function, or whatever returns an awaitable.
            args: what it is called with.
            context: what it runs in, `contextvars.copy_context()` for the submitter's; by default its worker's, which
                is that of whoever made the pool.

        Raises:
            PoolStopped: the pool has been stopped.
        """
        if self._stopped:
            raise PoolStopped
        self._line.put(job if not args and context is None else Work(job, args, context))
        if not self._crew.looked_out:
            self._call()

    def submit_future(
        self, job: Callable[[*Ts], Awaitable[T]], *args: *Ts, context: Context | None = None
    ) -> JobFuture[T]:
        """Like `submit`, and returns the job's end as a future. Cancelling the future cancels the job."""
        return self._submit_future(job, args, context, reaches_running=True)

    async def submit_wait(self, job: Callable[[*Ts], Awaitable[T]], *args: *Ts, context: Context | None = None) -> T:
        """Like `submit`, and waits for what the job returns or raises.

        A caller that is cancelled takes its job out of the line; a job that runs already is not cancelled with it.

        Raises:
            PoolStopped: the pool had been stopped, or was before the job could start.
        """
        end: JobFuture[T] = self._submit_future(job, args, context, reaches_running=False)
        return await end

    def try_submit(
        self,
        job: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        max_waiting: int = 0,
        context: Context | None = None,
    ) -> bool:
        """Like `submit` when there is room, and returns whether there was.

        There is room when no more than `max_waiting` jobs would have to wait for a worker, this one included; with 0,
        when a worker is free. Nobody in `submit_when_room` is overtaken.
        """
        if self._stopped:
            raise PoolStopped
        if not self._lobby.is_empty() or not self._has_room(max_waiting):
            return False
        self._put(Work(job, args, context))
        return True

    async def submit_when_room(
        self,
        job: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        max_waiting: int = 0,
        context: Context | None = None,
    ) -> None:
        """Like `submit`, as soon as there is room in the sense of `try_submit`: so a producer keeps the pool's pace.

        Who came first is served first, even when a later one could live with a longer line. A caller that is cancelled
        has submitted nothing, unless its room came in the same moment.

        Raises:
            PoolStopped: the pool had been stopped, or was before there was room.
        """
        if not self.try_submit(job, *args, max_waiting=max_waiting, context=context):
            try:
                await self._lobby.enter(Work(job, args, context), max_waiting)
            except asyncio.CancelledError:
                self._notice()  # there may be room for the next one
                raise

    # ------------------------------------------------------------------------------------------------------ steering

    def resize(self, size: int) -> None:
        """Changes how many jobs may run at once.

        More workers start at once on what waits. With fewer, running jobs go on, and none is started until less than
        `size` run.
        """
        _require_a_worker(size)
        self._crew.resize(size)
        self._call_for_waiting()
        self._notice()

    async def pause(self, seconds: float | None = None) -> Pause:
        """Lets what was submitted so far end, and starts nothing else until the pause is over.

        Returns when the pool is quiet. Jobs may be submitted all the while. Another pause begins when those before it
        are over. Cancelling the wait ends the pause.

        Args:
            seconds: how long until the pool goes on by itself, counted from now, so that no pause outlives who asked
                for it; None is until `Pause.resume`.

        Raises:
            TimeoutError: the seconds had passed before the pool was quiet.
            PoolStopped: the pool had been stopped, or was before it was quiet.
            RuntimeError: called by a job of this pool, which would wait for itself.
        """
        self._refuse_own_jobs("pause")
        if self._stopped:
            raise PoolStopped
        pause = Pause(self._line.lower(), self._lift, seconds)
        self._pauses.append(pause)
        self._notice()
        try:
            await pause.quiet
        except BaseException:
            pause.resume()
            raise
        return pause

    # ------------------------------------------------------------------------------------------------------- the end

    async def stop(self) -> None:
        """Takes no more jobs, drops those that wait, and returns when those that run have ended."""
        self._refuse_own_jobs("stop")
        self._drop_waiting()
        self._take_no_more()
        await self._crew.ended()

    async def stop_wait(self) -> None:
        """Takes no more jobs and returns when all that were submitted have ended."""
        self._refuse_own_jobs("stop")
        self._take_no_more()
        await self._crew.ended()
        while self._line:  # somebody has cancelled the workers
            self._call_for_waiting()
            await self._crew.ended()

    async def cancel(self) -> None:
        """Takes no more jobs, drops those that wait, cancels those that run, and returns when these have ended."""
        self._refuse_own_jobs("stop")
        self._drop_waiting()
        self._take_no_more()
        self._crew.cancel()
        await self._crew.ended()

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

    def _take_no_more(self) -> None:
        self._stopped = True
        self._lobby.close()
        while self._pauses:
            self._pauses[0].fail(PoolStopped())
        self._crew.close()

    def _drop_waiting(self) -> None:
        for work in self._line.clear():
            if isinstance(work, Work) and work.future is not None:
                work.future.drop()

    # ------------------------------------------------------------------------------------------------------ the line

    def _submit_future(
        self, job: Job, args: tuple[Any, ...], context: Context | None, *, reaches_running: bool
    ) -> JobFuture[Any]:
        if self._stopped:
            raise PoolStopped
        work = Work(job, args, context)
        work.future = JobFuture(partial(self._withdraw, work), reaches_running=reaches_running)
        self._put(work)
        return work.future

    def _put(self, work: Entry) -> None:
        self._line.put(work)
        self._call()

    def _call(self) -> None:
        if not self._pauses:
            self._crew.call()

    def _withdraw(self, work: Work) -> None:
        self._line.withdraw(work)
        self._notice()

    def _has_room(self, max_waiting: int) -> bool:
        free = 0 if self._line.barred else max(0, self._crew.size - self._running)
        return len(self._line) < free + max_waiting

    def _lift(self, pause: Pause) -> None:
        self._line.lift(pause.bar)
        self._pauses.remove(pause)
        self._call_for_waiting()
        self._notice()

    def _line_ready(self) -> int:
        return self._line.ready

    def _call_for_waiting(self) -> None:
        if self._line.ready:
            self._crew.call()

    def _notice(self) -> None:
        """Something ended or left, or bounds have changed: this is what those wait for who pause, or want room."""
        if self._pauses and not self._running and self._line.is_first(self._pauses[0].bar):
            quiet = self._pauses[0].quiet
            if not quiet.done():
                quiet.set_result(None)
        self._lobby.admit(self._has_room, self._put)

    # ------------------------------------------------------------------------------------------------------ the jobs

    async def _stint(self, worker: asyncio.Task[None]) -> bool:
        """What a worker does: jobs one after the other, until it has to give way or to leave.

        Returns False when there was nothing to do. Raises only what is meant for the worker or the process.
        """
        take, cancelling, crew, lobby = self._line.take, worker.cancelling, self._crew, self._lobby
        for _ in range(_JOBS_IN_A_ROW):
            work = take()
            if work is None:
                return False
            self._running += 1
            if lobby.may_be_occupied:
                self._notice()  # before a bar, who starts makes room in line
            try:
                if isinstance(work, Work):
                    await self._perform(work, worker)
                else:
                    await work()
            except BaseException as error:
                self._failed(error, worker, is_told=False)
            finally:
                self._running -= 1
                if lobby.may_be_occupied or self._pauses:
                    self._notice()
            if cancelling() or crew.too_many:
                break
        return True

    async def _perform(self, work: Work, worker: asyncio.Task[None]) -> None:
        """Does a job that somebody may wait for."""
        if work.future is not None:
            work.future.start(worker)
        try:
            if work.context is None:
                value = await work.job(*work.args)
            else:
                value = await run_in_context(work.context, work.job, work.args)
        except BaseException as error:
            self._failed(error, worker, is_told=work.future is not None and work.future.fail(error))
        else:
            if work.future is not None:
                work.future.succeed(value)

    def _failed(self, error: BaseException, worker: asyncio.Task[None], *, is_told: bool) -> None:
        """Tells whoever is concerned."""
        if isinstance(error, asyncio.CancelledError):
            if worker.cancelling():
                raise error  # it is meant for the worker; the job only happened to be there
        elif not isinstance(error, Exception):
            raise error
        if not is_told:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        try:
            self._on_error(error)
        except Exception:
            _log.exception("the error handler of worker pool %s failed", self._name)

    # ------------------------------------------------------------------------------------------------------ refusals

    def _refuse_own_jobs(self, what: str) -> None:
        if asyncio.current_task() in self._crew:
            raise RuntimeError(f"a job of worker pool {self._name} cannot {what} it and wait: it would wait for itself")


def _require_a_worker(size: int) -> None:
    if size < 1:
        raise ValueError(f"a pool needs at least one worker, not {size}")
