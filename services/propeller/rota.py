"""Which shards this replica should campaign for. Pure: what is known comes in, and so does the time.

Each shard has an assignee among the replicas that are there (`libs/election/rendezvous.py`). Whoever is not the
assignee leaves the shard alone, and gives it up if it leads it; so each shard has one candidate, and a replica that
comes gets its part.

An assignee may be there and not lead all the same: it cannot reach the database, or is not let in. So that its shards
are not orphaned, the next in rank stands in when nobody has led one for a while, and keeps it until another replica
comes or goes: handing it back sooner would be handed back to one that does not take it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from libs.election import rendezvous


class Rota:
    """One replica's part, from one look to the next."""

    def __init__(self, shards: int, replica: str, patience_seconds: float) -> None:
        """`patience_seconds` is how long a shard may be without a leader until the next in rank stands in, and the one
        after it after as long again."""
        self._shards = shards
        self._replica = replica
        self._patience = patience_seconds
        self._replicas: frozenset[str] = frozenset()
        self._unled_since: dict[int, float] = {}
        self._stands_in: set[int] = set()

    def part(self, replicas: Collection[str], led: Mapping[int, str], now: float) -> set[int]:
        """The shards to campaign for or to go on leading, given who is there, and who leads which shard."""
        there = frozenset(replicas) | {self._replica}  # who cannot be seen by others sees itself
        if there != self._replicas:
            self._replicas = there
            self._unled_since.clear()
            self._stands_in.clear()
        for shard in range(self._shards):
            self._note(shard, led.get(shard), now)
        assigned = rendezvous.assign(self._shards, there)
        return self._stands_in | {shard for shard, replica in assigned.items() if replica == self._replica}

    def _note(self, shard: int, leader: str | None, now: float) -> None:
        if leader is not None:
            self._unled_since.pop(shard, None)
            if leader != self._replica:
                self._stands_in.discard(shard)
            return
        since = self._unled_since.setdefault(shard, now)
        place = rendezvous.ranked(shard, self._replicas).index(self._replica) + 1
        if now - since > place * self._patience:
            self._stands_in.add(shard)
