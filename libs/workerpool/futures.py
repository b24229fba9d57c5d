"""The end of a job as a future: its result, its error, and a way to cancel it.

A `JobFuture` behaves as a task does: `cancel` is a request. A job that waits leaves the line and never starts; a job
that runs gets a `CancelledError` where it waits, may clean up or refuse, and the future is done when the job has
ended. So `asyncio.timeout`, `wait_for`, `gather` and `shield` mean what they mean for tasks.

The job runs in a worker's task, not in one of its own. Its cancellation is therefore a cancellation of that task,
which the worker takes back (`Task.uncancel`) when the job has ended, so that nobody else's cancellation is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class PoolStopped(RuntimeError):
    """The worker pool has been stopped: the job was not and will not be started."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


class JobFuture(asyncio.Future[T]):
    """What a job returns or raises; cancelling it cancels the job.

    Args:
        withdraw: takes the job out of the line.
        reaches_running: whether cancelling reaches a job that runs, rather than only ceasing to wait for it.
    """

    def __init__(self, withdraw: Callable[[], None], *, reaches_running: bool) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._withdraw: Callable[[], None] | None = withdraw
        self._reaches_running = reaches_running
        self._worker: asyncio.Task[None] | None = None
        self._cancellations = 0

    @property
    def started(self) -> bool:
        """Whether a worker has begun with the job, or is done with it."""
        return self._worker is not None

    def cancel(self, msg: Any | None = None) -> bool:
        """Asks the job to end. Returns False when it has ended already.

        A job that waits is out of the line, and the future cancelled, when this returns.
        """
        if self.done():
            return False
        if self._worker is None:
            withdraw, self._withdraw = self._withdraw, None
            super().cancel(msg)
            if withdraw is not None:
                withdraw()
            return True
        if not self._reaches_running:
            return super().cancel(msg)
        self._cancel_worker(self._worker, msg)
        return True

    def _cancel_worker(self, worker: asyncio.Task[None], msg: Any | None) -> None:
        if asyncio.current_task() is worker:
            # The job cancels itself. It may end before it waits again, and then the next job would be hit.
            self.get_loop().call_soon(self.cancel, msg)
            return
        self._cancellations += 1
        worker.cancel(msg)

    # ------------------------------------------------------------------------------------------- for the pool only

    def start(self, worker: asyncio.Task[None]) -> None:
        """A worker begins with the job."""
        self._withdraw = None
        self._worker = worker

    def succeed(self, value: T) -> None:
        """The job has returned."""
        self._take_back_cancellations()
        if not self.done():
            self.set_result(value)

    def fail(self, error: BaseException) -> bool:
        """The job has raised. Returns whether somebody may have been waiting for it."""
        self._take_back_cancellations()
        if self.done():
            return False
        if isinstance(error, asyncio.CancelledError):
            super().cancel(*error.args[:1])
        elif isinstance(error, StopIteration):  # which no future can hold
            self.set_exception(RuntimeError("the job raised StopIteration"))
        else:
            self.set_exception(error)
        return True

    def _take_back_cancellations(self) -> None:
        """The worker's task is no longer cancelled on account of this job."""
        if self._worker is not None:
            for _ in range(self._cancellations):
                self._worker.uncancel()
        self._cancellations = 0

    def drop(self) -> None:
        """The job will not start."""
        self._withdraw = None
        if not self.done():
            self.set_exception(PoolStopped())
            self.exception()  # looked at: that nobody awaits it is no oversight to be logged
