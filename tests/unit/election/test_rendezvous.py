"""Who should lead which shard: the same answer everywhere, equal parts, little movement."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.election import rendezvous

fleets = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=7)
counts = st.integers(1, 40)


@given(counts, fleets)
def test_every_shard_has_one_replica_and_the_parts_are_equal(shards: int, fleet: set[str]) -> None:
    assigned = rendezvous.assign(shards, fleet)
    assert set(assigned) == set(range(shards))
    parts = Counter(assigned.values())
    sizes = [parts[replica] for replica in fleet]
    assert max(sizes) - min(sizes) <= 1


@given(counts, fleets, st.randoms())
def test_the_order_in_which_replicas_are_known_does_not_matter(
    shards: int, fleet: set[str], dice: random.Random
) -> None:
    shuffled = sorted(fleet)
    dice.shuffle(shuffled)
    assert rendezvous.assign(shards, shuffled) == rendezvous.assign(shards, sorted(fleet))


def test_nobody_is_nobody() -> None:
    assert rendezvous.assign(4, ()) == {}


def test_other_processes_agree() -> None:
    fleet = ("propeller-0", "propeller-1", "propeller-2")
    code = f"from libs.election import rendezvous; print(rendezvous.assign(12, {fleet!r}))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{rendezvous.assign(12, fleet)}\n"}


@pytest.mark.parametrize(("shards", "replicas"), [(8, 3), (16, 4), (64, 5)])
def test_when_a_replica_comes_or_goes_little_more_than_its_own_part_moves(shards: int, replicas: int) -> None:
    dice = random.Random(7)
    moved = Counter[str]()
    for _ in range(100):
        fleet = [f"host-{dice.random()}" for _ in range(replicas)]
        with_one, without = rendezvous.assign(shards, fleet), rendezvous.assign(shards, fleet[:-1])
        changed = [shard for shard in range(shards) if with_one[shard] != without[shard]]
        own = [shard for shard in changed if with_one[shard] == fleet[-1]]
        assert len(own) == Counter(with_one.values())[fleet[-1]]
        moved["own"] += len(own)
        moved["others"] += len(changed) - len(own)
    assert moved["others"] < moved["own"] / 2


@given(st.integers(0, 100), fleets)
def test_whoever_stands_in_for_a_replica_that_is_gone_is_the_next_in_rank(shard: int, fleet: set[str]) -> None:
    ranked = rendezvous.ranked(shard, fleet)
    assert sorted(ranked) == sorted(fleet)
    assert rendezvous.ranked(shard, fleet - {ranked[0]}) == ranked[1:]
