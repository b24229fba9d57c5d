"""Who is there, and who leads what: one key per replica under a lease of its own, read by all with one prefix read.

Presence is a hint and fences nothing. A replica that has just died is there until its lease expires; one that cannot
reach etcd is missing for a while. What is decided by it (which shards to campaign for) has to bear that, and does,
because leading needs the election.

A key of presence is kept as leadership is: by an election in which nobody else stands.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from libs.election.election import Election, LeaderInfo, info
from libs.election.etcd import Access
from libs.runtime import together
from libs.runtime.clock import Clock

ROOT: Final = "/airscrew/"
_REPLICA: Final = f"{ROOT}replicas/"
_LEADER: Final = re.compile(rf"{ROOT}shards/(\d+)/leader")


def leader_key(shard: int) -> str:
    """The key under which a shard is led."""
    return f"{ROOT}shards/{shard}/leader"


@dataclass(frozen=True, slots=True)
class Survey:
    """All that etcd has to say, as of one moment."""

    replicas: frozenset[str]
    """The names of those that are there."""
    leaders: Mapping[int, LeaderInfo]
    """By shard; without those that nobody leads."""


class Presence:
    """One replica's sign that it is there, and its view of the others. The arguments are those of `Election`."""

    def __init__(
        self,
        endpoints: Sequence[str] | Access,
        *,
        replica: str,
        address: str,
        ttl_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self.replica = replica
        self._election = Election(
            endpoints,
            key=f"{_REPLICA}{replica}",
            holder=replica,
            address=address,
            ttl_seconds=ttl_seconds,
            clock=clock,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._election.close()

    async def keep(self, leaving: asyncio.Event) -> None:
        """Is there until `leaving` is set, and then gone at once. While etcd is away it is not there."""
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
        """Who is there and who leads. Raises Unavailable when etcd does not say."""
        found = await self._election.ask(lambda etcd: etcd.read_all(ROOT))
        replicas = frozenset(key.removeprefix(_REPLICA) for key in found if key.startswith(_REPLICA))
        leaders = {int(match[1]): info(reading) for key, reading in found.items() if (match := _LEADER.fullmatch(key))}
        return Survey(replicas, leaders)
