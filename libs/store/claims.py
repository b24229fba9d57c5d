"""Who may lead a shard: the rule of the claim, free of any database.

Within one etcd cluster, create revisions only grow, so the candidate whose election key was created last is the newest
and the others are the past: it gets a higher epoch, they get `Fenced`. Revisions of different clusters say nothing
about each other. A second cluster is therefore refused until an operator retires the first, and a retired one never
comes back: somebody may still hold a lease in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.store.records import LeaderRow
from libs.workflow.errors import FailedPrecondition, Fenced


@dataclass(frozen=True, slots=True)
class Claim:
    """What a newly elected leader says of itself."""

    shard: int
    etcd_cluster: str
    create_revision: int
    """Of its election key in etcd."""
    holder: str
    address: str
    now_us: int

    def row(self, epoch: int) -> LeaderRow:
        """What the claim leaves behind."""
        return LeaderRow(
            self.shard, epoch, self.etcd_cluster, self.create_revision, self.holder, self.address, self.now_us
        )


def epoch_of(claim: Claim, current: LeaderRow | None, clusters: Mapping[str, bool]) -> int:
    """The epoch that `claim` gets, given the shard's last leader and the known clusters (id → retired).

    Raises FailedPrecondition for a wrong etcd cluster and Fenced for a leader of the past. Claiming twice with the same
    key is one claim.
    """
    _require_the_one_cluster(claim.etcd_cluster, clusters)
    if current is None:
        return 1
    if current.etcd_cluster != claim.etcd_cluster or claim.create_revision > current.create_revision:
        return current.epoch + 1
    if claim.create_revision == current.create_revision and claim.holder == current.holder:
        return current.epoch
    raise Fenced(
        f"shard {claim.shard}: {current.holder} claimed it at etcd revision {current.create_revision}, "
        f"after {claim.holder} was elected at {claim.create_revision}"
    )


def renewed_epoch(claim: Claim, current: LeaderRow | None) -> int:
    """The next epoch of a leader that is still the last one to have claimed; Fenced otherwise."""
    if current is None or (current.etcd_cluster, current.create_revision, current.holder) != (
        claim.etcd_cluster,
        claim.create_revision,
        claim.holder,
    ):
        raise Fenced(f"shard {claim.shard}: {claim.holder} leads no longer")
    return current.epoch + 1


def _require_the_one_cluster(cluster: str, clusters: Mapping[str, bool]) -> None:
    if clusters.get(cluster, False):
        raise FailedPrecondition(f"etcd cluster {cluster} was retired and can never elect a leader again")
    for other, retired in clusters.items():
        if other != cluster and not retired:
            raise FailedPrecondition(
                f"etcd cluster {cluster} is not the one that elected the leaders so far ({other}): if that one is gone "
                f"for good, retire it first with `airscrew etcd retire {other}`"
            )
