"""Leader election with the guarantees of `libs.election` and no more: leases run out by etcd's clock, keep-alives
travel and get lost, and a candidate that is stopped notices nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import Any

from libs.election import LeaderInfo
from libs.runtime.clock import Clock
from libs.workflow.errors import Unavailable
from tests.support.simulation.loop import Process, VirtualLoop

LOOK_SECONDS = 0.2
_MARGIN = 1 / 5
_CALL_SECONDS = 1 / 6


@dataclass
class _Lease:
    """Of the one key."""

    holder: str
    address: str
    create_revision: int
    expires: float


class Etcd:
    """One key under a lease."""

    cluster_id = "simulated"

    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        self._loop = loop
        self._dice = dice
        self._revision = 0
        self._lease: _Lease | None = None
        self.away = False
        self.losing = 0.0
        """How often a request, or the answer to one, is lost."""

    def lease(self) -> _Lease | None:
        """Whose key it is now."""
        if self._lease is not None and self._loop.time() >= self._lease.expires:
            self._lease = None
        return self._lease

    def claim(self, holder: str, address: str, ttl: float) -> _Lease | None:
        if self.lease() is not None:
            return None
        self._revision += 1
        self._lease = _Lease(holder, address, self._revision, self._loop.time() + ttl)
        return self._lease

    def renew(self, lease: _Lease, ttl: float) -> bool:
        if self.lease() is not lease:
            return False
        lease.expires = self._loop.time() + ttl
        return True

    def revoke(self, lease: _Lease) -> None:
        if self._lease is lease:
            self._lease = None

    def expire(self) -> None:
        """Forgets the lease."""
        self._lease = None

    async def ask(self, process: Process, patience: float, job: Any) -> Any:
        """A request and its answer. Raises Unavailable when one of them is lost, which of them nobody can tell."""
        random = self._dice.random
        await asyncio.sleep(random() * 0.003)
        if process.dead:
            raise asyncio.CancelledError
        if self.away or random() < self.losing:
            await asyncio.sleep(patience)
            raise Unavailable("etcd does not answer")
        answer = job()
        if random() < self.losing:
            await asyncio.sleep(patience)
            raise Unavailable("etcd's answer was lost")
        await asyncio.sleep(random() * 0.003)
        return answer


class Election:
    """A candidate; see `libs.election.Election`."""

    def __init__(
        self, etcd: Etcd, process: Process, clock: Clock, holder: str, address: str, ttl_seconds: float
    ) -> None:
        self._etcd = etcd
        self._process = process
        self._clock = clock
        self.holder = holder
        self.address = address
        self.ttl = ttl_seconds
        self._last: _Lease | None = None

    async def campaign(self) -> Leadership:
        while True:
            try:
                led = await self._attempt()
            except Unavailable:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if led is not None:
                return led
            await asyncio.sleep(LOOK_SECONDS)

    async def leader(self) -> LeaderInfo | None:
        lease: _Lease | None = await self.ask(self._etcd.lease)
        return None if lease is None else LeaderInfo(lease.holder, lease.address, lease.create_revision)

    async def ask(self, job: Any) -> Any:
        return await self._etcd.ask(self._process, self.ttl * _CALL_SECONDS, job)

    async def _attempt(self) -> Leadership | None:
        await self.clean_up()
        sent = self._clock.monotonic()
        lease = await self.ask(self._claim)
        if lease is None:
            return None
        leadership = Leadership(self, lease, sent)
        if leadership.deadline() <= self._clock.monotonic():
            return None
        leadership.keep()
        return leadership

    def _claim(self) -> _Lease | None:
        lease = self._etcd.claim(self.holder, self.address, self.ttl)
        self._last = lease or self._last
        return lease

    async def clean_up(self) -> None:
        """Revokes what an earlier attempt may have left, so that we do not wait for ourselves."""
        if self._last is not None:
            last = self._last
            await self.ask(lambda: self._etcd.revoke(last))
            self._last = None

    def renew(self, lease: _Lease) -> bool:
        return self._etcd.renew(lease, self.ttl)

    def now(self) -> float:
        return self._clock.monotonic()


class Leadership:
    """The right to act as the leader, for a while; see `libs.election.Leadership`."""

    def __init__(self, election: Election, lease: _Lease, sent: float) -> None:
        self._election = election
        self._lease = lease
        self._deadline = sent + election.ttl * (1 - _MARGIN)
        self.cluster_id = Etcd.cluster_id
        self.create_revision = lease.create_revision
        self.lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self) -> None:
        self._tasks = [
            asyncio.create_task(self._renew(), name="keep-alive"),
            asyncio.create_task(self._watch(), name="deadline"),
        ]

    def deadline(self) -> float:
        return self._deadline

    async def resign(self) -> None:
        self._end()
        with contextlib.suppress(Unavailable):
            await self._election.clean_up()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._election.ttl / 3)
            sent = self._election.now()
            try:
                kept = await self._election.ask(lambda: self._election.renew(self._lease))
            except Unavailable:
                continue
            if not kept or self._election.now() >= self._deadline:
                self._end()
                return
            self._deadline = max(self._deadline, sent + self._election.ttl * (1 - _MARGIN))

    async def _watch(self) -> None:
        while (left := self._deadline - self._election.now()) > 0:
            await asyncio.sleep(max(left, 0.001))
        self._end()

    def _end(self) -> None:
        self._deadline = float("-inf")
        self.lost.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
