"""Executors that several shards share: each leader keeps to its offer, says what it wants, and nobody is put off."""

from __future__ import annotations

import asyncio
from typing import Any

from libs.wire.session import Demand
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from services.executor.sharing import Sharing
from services.propeller.demands import MOST, Demands
from services.propeller.passed import PASSED_OVER_US
from services.propeller.placement import Placement

CORE = Slots(cpu_millis=1000)
NOW = 1_000_000


def cores(count: int) -> Slots:
    return Slots(cpu_millis=1000 * count)


def attempts(count: int, execution: int = 1) -> list[AttemptId]:
    return [AttemptId(execution, f"n{number}", 0) for number in range(count)]


def leader(*executors: str, of: int = 4, limits: dict[str, int] | None = None) -> Placement:
    placement = Placement(limits=limits)
    placement.all_known()
    for executor in executors:
        placement.open(executor, "life", cores(of))
    return placement


def seek(placement: Placement, wanted: list[AttemptId], slots: Slots = CORE, **more: Any) -> int:
    """How many got a slot at once."""
    return sum(placement.seek(each, slots, NOW, project="p", **more) is not None for each in wanted)


def test_a_leader_keeps_to_its_offer_and_goes_on_when_it_grows() -> None:
    placement = leader("e1")
    placement.offer("e1", cores(1))
    assert seek(placement, attempts(4)) == 1
    assert placement.fill(NOW) == []
    placement.offer("e1", cores(3))
    assert len(placement.fill(NOW)) == 2
    assert placement.rooms.all()[0].capacity == cores(4)


def test_an_offer_that_shrinks_takes_nothing_away_and_lets_nothing_new_in() -> None:
    placement = leader("e1")
    assert seek(placement, attempts(3)) == 3
    placement.offer("e1", cores(1))
    placement.release(attempts(3)[0])
    assert seek(placement, attempts(1, execution=2)) == 0
    assert len(placement.attempts_on("e1")) == 2


def test_what_is_offered_to_nobody_else_is_no_reason_to_say_that_an_executor_is_too_small() -> None:
    placement = leader("e1")
    placement.offer("e1", Slots())
    seek(placement, attempts(1), cores(4))
    assert [room.could_ever_suit(wish) for room in placement.rooms.all() for wish in placement.lines.wishes()] == [True]


def test_what_executors_that_suit_keep_for_other_shards_is_told() -> None:
    placement = leader("e1", "e2")
    placement.offer("e1", cores(1))
    seek(placement, attempts(9), CORE)
    (wish,) = placement.lines.wishes()
    assert placement.rooms.elsewhere(wish) == cores(3)
    assert placement.rooms.elsewhere(wish._replace(slots=cores(5))) == Slots()


def test_the_smallest_of_what_is_most_urgent_is_asked_for() -> None:
    placement = leader("e1")
    placement.offer("e1", Slots())
    seek(placement, attempts(2, 1), cores(3))
    seek(placement, attempts(5, 2), cores(2))
    assert [(wish.slots, count) for wish, count in placement.demands(NOW).values()] == [(cores(2), 5)]
    seek(placement, attempts(1, 3), cores(4), priority=1)
    assert [(wish.slots, count) for wish, count in placement.demands(NOW).values()] == [(cores(4), 1)]


def test_what_must_not_have_a_slot_is_not_asked_for() -> None:
    placement = leader("e1", limits={"p": 1})
    assert seek(placement, attempts(3)) == 1
    assert placement.demands(NOW) == {}


def test_a_large_request_gathers_though_it_is_only_others_leaders_that_are_served() -> None:
    placement = leader("e1", "e2")
    for executor in ("e1", "e2"):
        placement.offer(executor, cores(1))
    seek(placement, attempts(1), cores(4))
    placement.demands(NOW)
    assert placement.rooms.kept is None
    placement.demands(NOW + PASSED_OVER_US)
    kept = placement.rooms.kept
    assert kept is not None and kept[1].slots == cores(4), "one executor, and no more of them"


class Told:
    """Keeps what executors are told, as `Sessions` would send it."""

    def __init__(self) -> None:
        self.demands: dict[str, Demand] = {}
        self.messages = 0

    def demand(self, executor: str, demand: Demand, again: bool) -> None:
        if again or self.demands.get(executor, Demand()) != demand:
            self.messages += 1
        self.demands[executor] = demand


class Still:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.us = NOW

    def now_us(self) -> int:
        return self.us


def test_executors_are_told_what_waits_and_when_nothing_does() -> None:
    placement, told = leader("e1"), Told()
    demands = Demands(placement, told, Still())  # type: ignore[arg-type]
    demands.look()
    assert told.messages == 0
    placement.offer("e1", Slots())
    seek(placement, attempts(MOST + 10))
    demands.look()
    assert told.demands == {"e1": Demand(CORE, MOST)}
    placement.drop(1)
    demands.look()
    demands.look()
    assert told.demands == {"e1": Demand()} and told.messages == 2
    demands.look(again=True)
    assert told.messages == 3


async def test_a_request_for_the_whole_executor_gets_its_turn_beside_a_shard_of_many_small_ones() -> None:
    """Both leaders and the executor's shares, as they are; a second passes between two ends of attempts."""
    clock = Still()
    many, one = leader("e1"), leader("e1")
    shards = {0: many, 1: one}
    running: list[tuple[int, AttemptId, Slots]] = []
    sharing = Sharing(cores(4), lambda shard, offer: shards[shard].offer("e1", offer))
    tellers = {shard: Demands(each, Told(), clock) for shard, each in shards.items()}  # type: ignore[arg-type]
    for shard, each in shards.items():
        each.offer("e1", sharing.join(shard))

    def start(shard: int, id: AttemptId, slots: Slots) -> None:
        running.append((shard, id, slots))
        sharing.take(shard, slots)

    for id in attempts(200):
        if many.seek(id, CORE, clock.us, project="p") is not None:
            start(0, id, CORE)
    await asyncio.sleep(0)
    large = attempts(2, execution=9)
    assert seek(one, large, cores(4)) == 0

    started: list[AttemptId] = []
    for _ in range(160):
        clock.us += 1_000_000
        for shard, teller in tellers.items():
            told = Told()
            teller._sessions = told  # type: ignore[assignment]
            teller.look()
            sharing.ask(shard, told.demands["e1"])
        await asyncio.sleep(0)
        for shard, each in shards.items():
            for id, _ in each.fill(clock.us):
                start(shard, id, CORE if shard == 0 else cores(4))
                started.append(id)
        if running:
            shard, id, slots = running.pop(0)
            shards[shard].release(id)
            sharing.give_back(shard, slots)
        await asyncio.sleep(0)
        held = sum(slots.cpu_millis for _, _, slots in running)
        assert held <= 4000
    assert [id for id in started if id in large] == large
    assert len(started) > 60, "the small ones go on before, between and after"
