"""Who may lead, on every ledger."""

from __future__ import annotations

import pytest

from libs.store.claims import Claim
from libs.store.ledger import Ledger
from libs.workflow.errors import FailedPrecondition, Fenced
from tests.support import stored
from tests.support.ledgers import Bench


def claim(bench: Bench, revision: int, holder: str = "a", cluster: str = "etcd-1", shard: int = 0) -> int:
    return bench.ledger.claim(shard, cluster, revision, holder, f"{holder}:1", 77)


async def test_the_first_claim_leads_with_epoch_one(bench: Bench) -> None:
    assert bench.ledger.leader(0) is None
    assert claim(bench, 10) == 1
    assert bench.ledger.leader(0) == Claim(0, "etcd-1", 10, "a", "a:1", 77).row(1)


async def test_a_higher_create_revision_raises_the_epoch(bench: Bench) -> None:
    claim(bench, 10)
    assert claim(bench, 12, "b") == 2
    leader = bench.ledger.leader(0)
    assert leader is not None and (leader.holder, leader.epoch) == ("b", 2)


async def test_claiming_again_with_the_same_key_keeps_the_epoch(bench: Bench) -> None:
    assert claim(bench, 10) == claim(bench, 10) == 1


async def test_a_leader_may_raise_its_epoch_and_then_the_old_one_is_fenced(bench: Bench) -> None:
    old = claim(bench, 10)
    assert bench.ledger.renew(0) == old + 1
    with pytest.raises(Fenced):
        bench.ledger.commit(0, old, [])
    bench.ledger.commit(0, old + 1, [])
    assert claim(bench, 11, "b") == old + 2


async def test_a_lower_create_revision_never_claims(bench: Bench) -> None:
    claim(bench, 12, "b")
    with pytest.raises(Fenced, match="b claimed it"):
        claim(bench, 10, "a")
    leader = bench.ledger.leader(0)
    assert leader is not None and leader.holder == "b"


async def test_the_same_revision_of_another_holder_never_claims(bench: Bench) -> None:
    claim(bench, 12, "b")
    with pytest.raises(Fenced):
        claim(bench, 12, "a")


async def test_shards_have_epochs_of_their_own(bench: Bench) -> None:
    claim(bench, 10)
    claim(bench, 11)
    assert claim(bench, 5, shard=1) == 1


async def test_another_etcd_cluster_is_refused_until_the_old_one_is_retired(bench: Bench) -> None:
    claim(bench, 100)
    with pytest.raises(FailedPrecondition, match="etcd-1"):
        claim(bench, 200, cluster="etcd-2")
    bench.retire("etcd-1")
    # Revisions of two clusters do not compare: a lower one of the new cluster leads.
    assert claim(bench, 3, "b", cluster="etcd-2") == 2


async def test_another_etcd_cluster_is_refused_for_every_shard(bench: Bench) -> None:
    claim(bench, 100, shard=0)
    with pytest.raises(FailedPrecondition):
        claim(bench, 200, cluster="etcd-2", shard=1)
    assert bench.ledger.leader(1) is None


async def test_a_retired_cluster_never_leads_again(bench: Bench) -> None:
    claim(bench, 100)
    bench.retire("etcd-1")
    with pytest.raises(FailedPrecondition, match="retired"):
        claim(bench, 101)
    claim(bench, 1, cluster="etcd-2")
    with pytest.raises(FailedPrecondition, match="retired"):
        claim(bench, 102)


async def test_a_refused_claim_leaves_the_leader_able_to_commit(bench: Bench) -> None:
    state = stored.execution()
    await bench.submit(state)
    epoch = claim(bench, 10)
    with pytest.raises(FailedPrecondition):
        claim(bench, 11, cluster="etcd-2")
    bench.ledger.commit(0, epoch, [stored.running(state)])


def test_on_sqlite_a_second_process_is_refused_until_the_first_gives_up(sqlite_url: str) -> None:
    first, second = Ledger(sqlite_url), Ledger(sqlite_url)
    first.claim(0, "etcd-1", 10, "a", "a:1", 77)
    with pytest.raises(FailedPrecondition, match="PostgreSQL"):
        second.claim(0, "etcd-1", 11, "b", "b:1", 77)
    first.close()
    assert second.claim(0, "etcd-1", 11, "b", "b:1", 77) == 2
    second.close()


def test_on_postgres_a_paused_leader_cannot_write_after_a_claim(postgres_url: str) -> None:
    first, second = Ledger(postgres_url), Ledger(postgres_url)
    epoch = first.claim(0, "etcd-1", 10, "a", "a:1", 77)
    first.commit(0, epoch, [])
    second.claim(0, "etcd-1", 11, "b", "b:1", 77)
    with pytest.raises(Fenced):
        first.commit(0, epoch, [])
    first.close()
    second.close()
