"""Where submitters wait who do not want the line to grow beyond a bound: first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from libs.workerpool.futures import PoolStopped
from libs.workerpool.line import Work


class _Guest(NamedTuple):
    """A submitter with its job, and how many jobs may be in line before it."""

    work: Work
    max_waiting: int
    admitted: asyncio.Future[None]


class Lobby:
    """Submitters in the order in which they came. The job of an admitted one is put in line for it, at once, so that
    nobody takes its room before it has woken."""

    def __init__(self) -> None:
        self._guests: deque[_Guest] = deque()
        self.may_be_occupied = False
        """False when nobody waits: cheap to look at after every job."""

    def is_empty(self) -> bool:
        """Whether nobody waits."""
        while self._guests and self._guests[0].admitted.done():
            self._guests.popleft()  # cancelled
        self.may_be_occupied = bool(self._guests)
        return not self._guests

    def enter(self, work: Work, max_waiting: int) -> asyncio.Future[None]:
        """Returns a future that is done when the job has been put in line. Cancelling it takes the job back."""
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._guests.append(_Guest(work, max_waiting, admitted))
        self.may_be_occupied = True
        return admitted

    def admit(self, has_room: Callable[[int], bool], put: Callable[[Work], None]) -> None:
        """Puts in line what there is room for."""
        while not self.is_empty() and has_room(self._guests[0].max_waiting):
            guest = self._guests.popleft()
            put(guest.work)
            guest.admitted.set_result(None)

    def close(self) -> None:
        """Sends all away with PoolStopped."""
        while not self.is_empty():
            self._guests.popleft().admitted.set_exception(PoolStopped())
