"""What leaders are told of attempts: that they go on, and how they have ended.

An end is on disk before it is sent, and is sent again until it is acknowledged (promise P5). Ends that come together
share a write and a message. As long as more attempts wait here for slots than have ended, no slot stands idle and
nobody waits for what a leader would assign upon them: so they gather.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from libs.runtime.clock import Clock
from libs.wire.session import Ack, Report
from libs.workflow.identity import AttemptId
from services.executor.news import News
from services.executor.spool import Spool

_GATHER_SECONDS: Final = 0.02
"""How long ends gather at most."""


class Reporting:
    """Belongs to one event loop."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        group: asyncio.TaskGroup,
        say: Callable[[Report], None],
        waiting: Callable[[], int],
        kept: Callable[[Iterable[AttemptId]], None],
    ) -> None:
        """`group` owns the task that writes, `say` puts a report into the session of its shard, if there is one;
        `waiting` tells how many attempts wait for slots; `kept` is told whose ends are on disk, before they are sent.
        """
        self.spool = spool
        self._clock = clock
        self._group = group
        self._say = say
        self._waiting = waiting
        self._news = News(say)
        self._sent_at: dict[AttemptId, float] = {}
        self._kept = kept
        self._unsent: list[Report] = []
        """Ends that are not on disk."""
        self._refused: list[Report] = []
        """Ends that were sent from memory, because the disk has refused them."""
        self._writing = False
        self._enough = asyncio.Event()

    def snapshot(self, shard: int) -> list[Report]:
        """The ends that a new session of a shard begins with, sent by that."""
        now = self._clock.monotonic()
        spooled = [report for report in self.spool.reports() if report.shard == shard]
        self._sent_at.update((report.id, now) for report in spooled)
        return spooled

    def goes_on(self, report: Report) -> None:
        """Tells it when it has lasted for a moment."""
        self._news.add(report)

    def is_known(self, id: AttemptId) -> None:
        """Whoever is to know that an attempt goes on has it from elsewhere."""
        self._news.forget(id)

    def ended(self, report: Report) -> None:
        """Keeps an end, and tells it then."""
        self._news.forget(report.id)
        self.spool.add(report)
        self._unsent.append(report)
        if not self._writing:
            self._writing = True
            self._group.create_task(self._write(), name="write reports")
        elif not self._gathers():
            self._enough.set()

    def answered(self, report: Report) -> None:
        """Tells an end that is kept in memory only."""
        self.spool.keep(report)
        self.send(report)

    def send(self, report: Report) -> None:
        """Tells an end that is kept, perhaps once more."""
        self._sent_at[report.id] = self._clock.monotonic()
        self._say(report)

    def send_again(self, after_seconds: float) -> None:
        """Repeats ends that have waited longer for their acknowledgement."""
        before = self._clock.monotonic() - after_seconds
        for report in self.spool.reports():
            if self._sent_at.get(report.id, 0.0) < before:
                self.send(report)

    def acknowledge(self, ack: Ack) -> bool:
        """The leader has committed an end; whether it was kept until now."""
        if not self.spool.acknowledge(ack):
            return False
        self._sent_at.pop(ack.id, None)
        return True

    async def _write(self) -> None:
        while self._unsent:
            if self._gathers():
                await self._gather()
            ends, self._unsent = self._unsent, []
            if await self.spool.flush():
                self._kept([report.id for report in (*self._refused, *ends)])
                self._refused.clear()
            else:
                self._refused += ends
            for report in ends:
                self.send(report)
        self._writing = False

    def _gathers(self) -> bool:
        return self._waiting() > len(self._unsent)

    async def _gather(self) -> None:
        self._enough.clear()
        timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._enough.set)
        await self._enough.wait()
        timer.cancel()
