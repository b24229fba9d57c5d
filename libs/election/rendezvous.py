"""Which replica should lead which shard: rendezvous hashing with equal loads. Pure: all who know the same fleet agree.

Every pair of a shard and a replica has a weight, a hash of the two names that nothing else enters. The heaviest pairs
are chosen first, until each replica has its part: so many shards as everybody has, or one more where they cannot be
divided. Without that bound (plain rendezvous hashing, Thaler and Ravishankar 1998) a few shards lie on a few replicas
as dice do: four shards leave one of three replicas without any more often than not.

The price is a little more movement. When a replica comes or goes, its part has to move, whatever one does; with the
bound it is about a third more, measured over many fleets, for others' parts change too.

Nothing here says who leads: that is the election's business. Replicas that see different fleets for a moment
disagree, campaign for the same shard, and one of them wins.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection


def assign(shards: int, replicas: Collection[str]) -> dict[int, str]:
    """By shard, the replica that should lead it: as many each, or one more. Empty when there is no replica."""
    if not replicas:
        return {}
    part, seats_left = divmod(shards, len(replicas))
    has: Counter[str] = Counter()
    chosen: dict[int, str] = {}
    pairs = ((_weight(shard, replica), shard, replica) for shard in range(shards) for replica in replicas)
    for _, shard, replica in sorted(pairs, reverse=True):
        if shard in chosen or has[replica] > part or (has[replica] == part and not seats_left):
            continue
        seats_left -= has[replica] == part
        has[replica] += 1
        chosen[shard] = replica
    return chosen


def ranked(shard: int, replicas: Collection[str]) -> list[str]:
    """The replicas in the order in which they stand in for each other in leading a shard."""
    return sorted(replicas, key=lambda replica: (_weight(shard, replica), replica), reverse=True)


def _weight(shard: int, replica: str) -> bytes:
    return hashlib.blake2b(f"{shard}/{replica}".encode(), digest_size=8).digest()
