"""The election's own thread: every call to etcd is made here, one after the other, and keep-alives go first.

A thread, because a lease must be kept alive however busy the event loop is. One thread, because then what was sent
before and after needs no further thought. Jobs for it are short by nature: each makes a few calls, each call has a
deadline, and none of them is urgent; the longest stretch between two looks at the keep-alive is one job.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from libs.election.etcd import Etcd
from libs.election.tenure import Tenure
from libs.runtime.clock import Clock

logger = logging.getLogger(__name__)

T = TypeVar("T")

# After a failed keep-alive, which may have failed at once (connection refused), until the next.
_RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """What is being kept alive."""

    tenure: Tenure
    key: str
    on_loss: Callable[[str], None]
    """Called in the thread, with the reason, when the keeper finds that leadership is lost."""


class Keeper:
    """Runs jobs against etcd, and keeps at most one lease alive.

    Args:
        etcd: used by this thread only.
        ttl_seconds: of the leases.
        margin_seconds: how long before its lease can expire a tenure must be over.
    """

    def __init__(self, etcd: Etcd, ttl_seconds: int, margin_seconds: float, clock: Clock, name: str) -> None:
        self._etcd = etcd
        self._interval = ttl_seconds / 3
        self._margin = margin_seconds
        self._clock = clock
        self._jobs: queue.SimpleQueue[tuple[Callable[[Etcd], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._held: Held | None = None
        self._refresh_at = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def call(self, job: Callable[[Etcd], T]) -> Future[T]:
        """Runs `job` in the thread, which the first call starts. All calls come from one thread."""
        if self._thread.ident is None:
            self._thread.start()
        result: Future[T] = Future()
        self._jobs.put((job, result))
        return result

    def hold(self, held: Held) -> None:
        """Keeps a lease alive from now on, until its tenure ends. To be called by a job."""
        self._held = held
        self._refresh_at = self._clock.monotonic() + self._interval

    def let_go(self, lease_id: int) -> None:
        """Keeps that lease alive no longer, if it was. To be called by a job."""
        if self._held is not None and self._held.tenure.lease_id == lease_id:
            self._held = None

    def close(self) -> None:
        """Ends the thread after the jobs that were given to it; waits for it. Leases expire by themselves."""
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                try:
                    work = self._jobs.get(timeout=self._until_refresh())
                except queue.Empty:
                    self._keep_alive()
                    continue
                if work is None:
                    return
                _settle(*work, self._etcd)
        finally:
            self._etcd.close()

    def _until_refresh(self) -> float | None:
        """Seconds; None when nothing is held. A refresh that is due goes before any job."""
        while self._held is not None:
            wait = self._refresh_at - self._clock.monotonic()
            if wait > 0:
                return wait
            self._keep_alive()
        return None

    def _keep_alive(self) -> None:
        held = self._held
        if held is None:
            return
        if held.tenure.end_if_due():
            self._held = None
            held.on_loss("it was not renewed in time")
            return
        sent = self._clock.monotonic()
        try:
            remaining = self._etcd.refresh(held.tenure.lease_id)
        except Exception as error:
            logger.warning("leadership of %s was not renewed: %s", held.key, error)
            self._refresh_at = self._clock.monotonic() + _RETRY_SECONDS
            return
        self._refresh_at = sent + self._interval
        if remaining <= 0:
            self._lose(held, "its lease is gone")
        elif not held.tenure.extend(sent + remaining - self._margin):
            self._lose(held, "it was renewed too late")
        else:
            self._check_key(held)

    def _check_key(self, held: Held) -> None:
        """A lease outlives its key when somebody deletes the key; a successor would lead beside us."""
        try:
            reading = self._etcd.read(held.key)
        except Exception as error:
            logger.debug("%s could not be read: %s", held.key, error)
            return
        if reading.lease_id != held.tenure.lease_id:
            self._lose(held, "its key was deleted")

    def _lose(self, held: Held, why: str) -> None:
        held.tenure.end()
        self._held = None
        held.on_loss(why)


def _settle(job: Callable[[Etcd], T], result: Future[T], etcd: Etcd) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        value = job(etcd)
    except BaseException as error:
        result.set_exception(error)
    else:
        result.set_result(value)
