"""Killing a leader, and watching how the next one takes over.

The kill is a wish to the leading process, which refuses it unless its settings allow it; so nobody needs to be let onto
its machine. What follows is seen from here: that somebody has claimed the shard, by its row; what the new leader has
done since then, by its own word. All times are since the moment at which the connection to the killed process broke,
by one clock; what the new leader tells, by its own, is only taken as a distance from its claim.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from libs.clients.propeller import Propellers, Status
from libs.runtime.clock import Clock
from libs.store.records import LeaderRow
from libs.store.stories import Stories
from libs.workflow.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""How often it is looked what has happened: the precision of what is told."""
NOTHING_TO_COMMIT_US = 2_000_000
"""A leader that has had all executions in memory for so long, and has committed nothing, has nothing to commit now."""


class What(Enum):
    """The steps of a take-over, in order; only the first commit may come after the last one, or not at all."""

    KILLED = auto()
    CLAIMED = auto()
    COMMITTED = auto()
    WARM = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """Something that has happened to the leadership of a shard."""

    what: What
    after_us: int
    """Since the kill."""
    leader: LeaderRow
    """Who was killed, or leads now."""
    executions: int = 0
    """In memory when all were warm."""


class TakeOvers:
    """Makes them happen, and tells."""

    def __init__(self, stories: Stories, propellers: Propellers, shards: int, clock: Clock) -> None:
        self._stories = stories
        self._propellers = propellers
        self._shards = shards
        self._clock = clock

    async def of_killed_leader(self, shard: int, patience_us: int) -> AsyncIterator[Step]:
        """Kills the leader of a shard. Tells of every shard that it led, until the executions of all are warm.

        Raises NotFound for a shard that does not exist, FailedPrecondition when nobody leads it, PermissionDenied when
        its leader may not be killed, and DeadlineExceeded when the take-over has lasted for `patience_us`.
        """
        if shard >= self._shards:
            raise NotFound(f"there is no shard {shard}: there are {self._shards}")
        leader = await self._leader(shard)
        await self._kill(leader)
        killed = self._clock.monotonic()
        watched = [_Watched(row) for row in await self._led_by(leader)]
        for each in watched:
            yield Step(What.KILLED, 0, each.leader)
        while watched:
            await asyncio.sleep(LOOK_SECONDS)
            for each in watched:
                for step in await self._look(each, killed):
                    yield step
            watched = [each for each in watched if not each.over]
            if watched and self._since(killed) > patience_us:
                raise DeadlineExceeded(f"{watched[0].still()}, {self._since(killed) / 1e6:.0f} s after the kill")

    async def _leader(self, shard: int) -> LeaderRow:
        leader = await self._stories.leader(shard)
        if leader is None:
            raise FailedPrecondition(f"nobody leads shard {shard}: nobody ever has")
        return leader

    async def _kill(self, leader: LeaderRow) -> None:
        try:
            await self._propellers.die(leader.address, leader.shard, leader.epoch)
        except (Unavailable, DeadlineExceeded) as error:
            raise FailedPrecondition(f"{_nobody_after(leader)} does not answer ({error.message})") from error
        except FailedPrecondition as error:
            raise FailedPrecondition(f"{_nobody_after(leader)} leads it no longer") from error

    async def _led_by(self, leader: LeaderRow) -> list[LeaderRow]:
        """The shards that go down with that process."""
        rows = [leader]
        for shard in range(self._shards):
            row = await self._stories.leader(shard) if shard != leader.shard else None
            if row is not None and (row.holder, row.address) == (leader.holder, leader.address):
                rows.append(row)
        return rows

    async def _look(self, watched: _Watched, killed: float) -> list[Step]:
        try:
            row = await self._stories.leader(watched.leader.shard)
        except Unavailable as error:
            logger.info("who leads is not known: %s", error.message)
            return []
        steps = []
        if row is not None and _token(row) != _token(watched.leader):
            watched.claimed(row, self._since(killed))
            steps.append(Step(What.CLAIMED, watched.claimed_us, row))
        if watched.claimed_us:
            status = await self._propellers.status(watched.leader.address, watched.leader.shard, [])
            if status is not None and status.leading:
                steps.extend(watched.told(status, self._since(killed)))
        return steps

    def _since(self, moment: float) -> int:
        return round((self._clock.monotonic() - moment) * 1e6)


class _Watched:
    """A shard whose leader was killed."""

    def __init__(self, leader: LeaderRow) -> None:
        self.leader = leader
        """The latest known."""
        self.claimed_us = 0
        """How long after the kill another one had claimed the shard; 0 before."""
        self.over = False
        self._open: set[What] = set()
        self._warm_us = 0

    def claimed(self, leader: LeaderRow, after_us: int) -> None:
        """There is a new leader; perhaps one more, if something has happened to the first one."""
        self.leader, self.claimed_us, self._warm_us = leader, after_us, 0
        self._open = {What.COMMITTED, What.WARM}

    def told(self, status: Status, now_us: int) -> Iterator[Step]:
        """What the leader has done meanwhile."""
        moments = ((What.COMMITTED, status.first_commit_us), (What.WARM, status.synced_us))
        for what, at_us in sorted(moments, key=lambda moment: moment[1]):
            if at_us and what in self._open:
                self._open.discard(what)
                yield Step(what, self.claimed_us + at_us - status.began_us, self.leader, status.executions)
        if What.WARM in self._open:
            return
        self._warm_us = self._warm_us or now_us
        idle = not status.executions or now_us - self._warm_us > NOTHING_TO_COMMIT_US
        self.over = idle or What.COMMITTED not in self._open

    def still(self) -> str:
        """What has not happened yet."""
        shard, holder = self.leader.shard, self.leader.holder
        if not self.claimed_us:
            return f"nobody has taken over shard {shard}"
        return f"{holder} leads shard {shard}, but does not yet have all its executions in memory"


def _nobody_after(leader: LeaderRow) -> str:
    return f"nobody leads shard {leader.shard} now: {leader.holder} at {leader.address}, who claimed it last,"


def _token(row: LeaderRow) -> tuple[str, int]:
    """What another leader has another one of: epochs rise without that, too."""
    return row.etcd_cluster, row.create_revision
