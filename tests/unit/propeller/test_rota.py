"""Which shards a replica campaigns for, as replicas come, go, and do not do what is theirs to do."""

from __future__ import annotations

from libs.election import rendezvous
from services.propeller.rota import Rota

SHARDS = 6
PATIENCE = 10.0
FLEET = ("a", "b", "c")
ASSIGNED = rendezvous.assign(SHARDS, FLEET)


def rota(replica: str) -> Rota:
    return Rota(SHARDS, replica, PATIENCE)


def part_of(replica: str, fleet: tuple[str, ...] = FLEET) -> set[int]:
    return {shard for shard, name in rendezvous.assign(SHARDS, fleet).items() if name == replica}


def test_each_shard_has_one_candidate() -> None:
    parts = [rota(replica).part(FLEET, ASSIGNED, 0.0) for replica in FLEET]
    assert sorted(shard for part in parts for shard in part) == list(range(SHARDS))


def test_whoever_is_alone_leads_all_and_gives_up_the_part_of_whoever_comes() -> None:
    a = rota("a")
    everything = dict.fromkeys(range(SHARDS), "a")
    assert a.part(["a"], everything, 0.0) == set(range(SHARDS))
    assert a.part(["a", "b"], everything, 1.0) == part_of("a", ("a", "b"))


def test_who_is_not_seen_by_others_still_sees_itself() -> None:
    assert rota("a").part(["b", "c"], ASSIGNED, 0.0) == part_of("a")


def test_the_next_in_rank_stands_in_for_one_that_is_there_and_does_not_lead() -> None:
    shard = next(iter(part_of("a")))
    led = {other: name for other, name in ASSIGNED.items() if other != shard}
    ranked = rendezvous.ranked(shard, FLEET)
    for place, replica in enumerate(ranked, 1):
        one = rota(replica)
        assert one.part(FLEET, led, 0.0) == part_of(replica)
        assert one.part(FLEET, led, place * PATIENCE) == part_of(replica), "its turn has not come"
        assert one.part(FLEET, led, place * PATIENCE + 0.1) == part_of(replica) | {shard}


def test_patience_begins_anew_when_somebody_has_led() -> None:
    shard = next(iter(part_of("a")))
    b = rota("b")
    led = {other: name for other, name in ASSIGNED.items() if other != shard}
    b.part(FLEET, led, 0.0)
    b.part(FLEET, ASSIGNED, 29.0)
    assert b.part(FLEET, led, 31.0) == part_of("b")


def test_whoever_stands_in_keeps_the_shard_until_the_fleet_changes() -> None:
    shard = next(iter(part_of("a")))
    b = rota("b")
    led = {other: name for other, name in ASSIGNED.items() if other != shard}
    b.part(FLEET, led, 0.0)
    b.part(FLEET, led, 31.0)
    led[shard] = "b"
    assert shard in b.part(FLEET, led, 1000.0), "a has not taken it, and would not take it back"
    assert b.part((*FLEET, "d"), led, 1001.0) == part_of("b", (*FLEET, "d"))


def test_whoever_would_stand_in_lets_the_one_who_was_quicker_lead() -> None:
    shard = next(iter(part_of("a")))
    b = rota("b")
    led = {other: name for other, name in ASSIGNED.items() if other != shard}
    b.part(FLEET, led, 0.0)
    assert shard in b.part(FLEET, led, 31.0)
    assert b.part(FLEET, ASSIGNED, 32.0) == part_of("b")
