"""Leader election and presence with the guarantees of `libs.election` and no more: leases run out by etcd's clock,
keep-alives travel and get lost, and a candidate that is stopped notices nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import Any

from libs.election import LeaderInfo, Survey
from libs.runtime import together
from libs.runtime.clock import Clock
from libs.workflow.errors import Unavailable
from tests.support.simulation.loop import Process, VirtualLoop

LOOK_SECONDS = 0.2
_MARGIN = 1 / 5
_CALL_SECONDS = 1 / 6


@dataclass
class _Lease:
    """Of one key."""

    key: str
    holder: str
    address: str
    create_revision: int
    expires: float


class Etcd:
    """Keys, each under a lease of its own."""

    cluster_id = "simulated"

    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        self._loop = loop
        self._dice = dice
        self._revision = 0
        self._leases: dict[str, _Lease] = {}
        self.away = False
        self.losing = 0.0
        """How often a request, or the answer to one, is lost."""

    def lease(self, key: str) -> _Lease | None:
        """Whose key it is now."""
        lease = self._leases.get(key)
        if lease is not None and self._loop.time() >= lease.expires:
            del self._leases[key]
            return None
        return lease

    def survey(self) -> Survey:
        """All that there is."""
        leases = [lease for key in list(self._leases) if (lease := self.lease(key)) is not None]
        return Survey(
            frozenset(lease.holder for lease in leases if lease.key == _presence_key(lease.holder)),
            {
                int(lease.key): LeaderInfo(lease.holder, lease.address, lease.create_revision)
                for lease in leases
                if lease.key.isdigit()
            },
        )

    def claim(self, key: str, holder: str, address: str, ttl: float) -> _Lease | None:
        if self.lease(key) is not None:
            return None
        self._revision += 1
        lease = self._leases[key] = _Lease(key, holder, address, self._revision, self._loop.time() + ttl)
        return lease

    def renew(self, lease: _Lease, ttl: float) -> bool:
        if self.lease(lease.key) is not lease:
            return False
        lease.expires = self._loop.time() + ttl
        return True

    def revoke(self, lease: _Lease) -> None:
        if self._leases.get(lease.key) is lease:
            del self._leases[lease.key]

    def expire(self) -> None:
        """Forgets a lease."""
        if self._leases:
            del self._leases[self._dice.choice(sorted(self._leases))]

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
        self, etcd: Etcd, process: Process, clock: Clock, key: str, holder: str, address: str, ttl_seconds: float
    ) -> None:
        self._etcd = etcd
        self._process = process
        self._clock = clock
        self.key = key
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
        lease: _Lease | None = await self.ask(lambda: self._etcd.lease(self.key))
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
        lease = self._etcd.claim(self.key, self.holder, self.address, self.ttl)
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


class Presence:
    """A replica's sign that it is there; see `libs.election.Presence`."""

    def __init__(self, etcd: Etcd, process: Process, clock: Clock, replica: str, ttl_seconds: float) -> None:
        self.replica = replica
        self._etcd = etcd
        self._election = Election(etcd, process, clock, _presence_key(replica), replica, replica, ttl_seconds)

    async def keep(self, leaving: asyncio.Event) -> None:
        try:
            while True:
                lease = await together.unless(leaving, f"presence of {self.replica}", self._election.campaign())
                try:
                    await together.first_to_end(lost=lease.lost.wait(), leaving=leaving.wait())
                finally:
                    await lease.resign()
        except together.Interrupted:
            return

    async def look(self) -> Survey:
        found: Survey = await self._election.ask(self._etcd.survey)
        return found


def _presence_key(replica: str) -> str:
    return f"replicas/{replica}"


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
