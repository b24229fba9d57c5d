"""How leaders that know nothing of each other share an executor: nothing idles, nobody starves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.wire.session import Demand
from libs.workflow.quantities import Slots
from services.executor.sharing import NOTHING, Sharing, offers

WHOLE = Slots(8000, 8 << 30, 2)
ONE = Slots(1000, 1 << 30, 0)
NOBODY = Demand()


def of(count: int) -> Slots:
    return Slots(1000 * count, count << 30, 0)


def offered(
    demands: Mapping[int, Demand], held: Mapping[int, Slots] | None = None, served: Mapping[int, int] | None = None
) -> dict[int, Slots]:
    return offers(WHOLE, held or {}, demands, served or {})


def test_a_single_shard_is_offered_everything() -> None:
    assert offered({0: NOBODY}) == {0: WHOLE}
    assert offered({0: Demand(ONE, 100)}, {0: of(8)}) == {0: WHOLE}


def test_what_nobody_asks_for_is_offered_to_everybody() -> None:
    assert offered({0: NOBODY, 1: NOBODY}, {0: of(3)}) == {0: WHOLE, 1: WHOLE.minus(of(3))}


def test_a_shard_that_wants_everything_gets_it_while_the_other_wants_nothing() -> None:
    assert offered({0: Demand(ONE, 100), 1: NOBODY})[0].cpu_millis == 8000


def test_two_that_want_everything_get_half() -> None:
    both = offered({0: Demand(ONE, 100), 1: Demand(ONE, 100)})
    assert both[0].cpu_millis == both[1].cpu_millis == 4000


def test_what_becomes_free_goes_to_whoever_has_less() -> None:
    wants = Demand(ONE, 100)
    assert offered({0: wants, 1: wants}, {0: of(7)}) == {0: of(7).plus(Slots(gpus=2)), 1: of(1).plus(Slots(gpus=2))}


def test_what_is_held_without_a_session_is_still_held() -> None:
    assert offered({1: Demand(ONE, 100)}, {0: of(7)})[1].cpu_millis == 1000


def test_whoever_is_more_urgent_comes_first() -> None:
    urgent = offered({0: Demand(ONE, 100), 1: Demand(ONE, 6, priority=1)})
    assert (urgent[0].cpu_millis, urgent[1].cpu_millis) == (2000, 6000)


def test_of_two_that_want_the_whole_machine_the_one_served_longest_ago_comes_first() -> None:
    wants = Demand(of(8), 5)
    assert offered({0: wants, 1: wants}, served={0: 2, 1: 1})[0].cpu_millis == 0
    assert offered({0: wants, 1: wants}, served={0: 2, 1: 3})[1].cpu_millis == 0


def test_a_large_demand_does_not_hold_up_small_ones_unless_it_gathers() -> None:
    large, small = Demand(of(8), 1), Demand(ONE, 100)
    assert offered({0: small, 1: large}, {0: of(5)})[0].cpu_millis == 8000
    gathers = offered({0: small, 1: Demand(of(8), 1, gathers=True)}, {0: of(5)})
    assert gathers == {0: of(5), 1: NOTHING}, "what is free stays free"


def test_what_never_fits_does_not_gather() -> None:
    never = Demand(Slots(gpus=3), 1, gathers=True)
    assert offered({0: Demand(ONE, 100), 1: never})[0].cpu_millis == 8000


slots = st.builds(Slots, st.integers(0, 3000), st.integers(0, 3 << 30), st.integers(0, 1))
demands = st.dictionaries(
    st.integers(0, 3),
    st.builds(Demand, slots.filter(any), st.integers(0, 20), st.integers(-1, 1), st.booleans()),
    min_size=1,
)


@given(demands, st.dictionaries(st.integers(0, 3), slots))
def test_nobody_loses_what_it_holds_and_what_is_asked_for_is_promised_once(
    asked: dict[int, Demand], held: dict[int, Slots]
) -> None:
    total = NOTHING
    for each in held.values():
        total = total.plus(each)
    if not total.fits(WHOLE):
        return
    found = offers(WHOLE, held, asked, {})
    assert found.keys() == asked.keys()
    for shard, offer in found.items():
        assert held.get(shard, NOTHING).fits(offer)
        assert offer.fits(WHOLE)
    waiting = [shard for shard, demand in asked.items() if demand.count]
    fits = [shard for shard in waiting if asked[shard].each.fits(WHOLE.minus(total))]
    gathers = [shard for shard in waiting if asked[shard].gathers]
    if fits and not gathers:
        assert any(asked[shard].each.fits(found[shard].minus(held.get(shard, NOTHING))) for shard in fits)


class Machine:
    """An executor with leaders that place what they are offered, at once and in any order of shards."""

    def __init__(self, waiting: dict[int, tuple[Slots, int]]) -> None:
        self.offers: dict[int, Slots] = {}
        self.sharing = Sharing(WHOLE, self.offers.__setitem__)
        self.waiting = waiting
        self.running: list[tuple[int, Slots]] = []
        self.started: list[int] = []
        for shard in waiting:
            self.offers[shard] = self.sharing.join(shard)

    def demand(self, *, gathers: bool = False) -> None:
        for shard, (each, count) in self.waiting.items():
            self.sharing.ask(shard, Demand(each, count, gathers=gathers) if count else NOBODY)

    def place(self) -> None:
        for shard, (each, count) in self.waiting.items():
            used = NOTHING
            for other, held in self.running:
                used = used.plus(held) if other == shard else used
            while count and each.fits(self.offers[shard].minus(used)) and each.fits(self.free()):
                used, count = used.plus(each), count - 1
                self.running.append((shard, each))
                self.started.append(shard)
                self.sharing.take(shard, each)
            self.waiting[shard] = each, count

    def free(self) -> Slots:
        free = WHOLE
        for _, held in self.running:
            free = free.minus(held)
        return free

    def end_one(self) -> None:
        self.sharing.give_back(*self.running.pop(0))


async def test_neither_of_two_leaders_starves() -> None:
    machine = Machine({0: (ONE, 200), 1: (ONE, 200)})
    for _ in range(100):
        machine.demand()
        await asyncio.sleep(0)
        machine.place()
        machine.end_one()
        await asyncio.sleep(0)
    assert 0.4 < sum(machine.started) / len(machine.started) < 0.6


async def test_whoever_wants_the_whole_machine_gets_it_in_turn_with_the_small_ones() -> None:
    machine = Machine({0: (ONE, 500), 1: (of(8), 3)})
    machine.place()
    for _ in range(60):
        machine.demand(gathers=True)
        await asyncio.sleep(0)
        machine.place()
        if machine.running:
            machine.end_one()
        await asyncio.sleep(0)
    assert machine.started.count(1) == 3


async def test_a_shard_that_has_left_is_offered_nothing() -> None:
    told: list[int] = []
    sharing = Sharing(WHOLE, lambda shard, offer: told.append(shard))
    sharing.join(0)
    sharing.join(1)
    sharing.take(1, ONE)
    sharing.leave(1)
    await asyncio.sleep(0)
    sharing.give_back(1, ONE)
    await asyncio.sleep(0)
    assert set(told) == {0}


async def test_a_leader_knows_that_it_shares_only_some_time_after_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sharing = Sharing(WHOLE, lambda shard, offer: None)
    sharing.join(0)
    sharing.join(1)
    assert not sharing.knows_to_share(0), "nobody else wants anything"
    sharing.ask(1, Demand(ONE, 100))
    sharing.ask(0, Demand(ONE, 100))
    assert not sharing.knows_to_share(0), "it was not even told"
    await asyncio.sleep(0)
    assert not sharing.knows_to_share(0), "what it has sent before may be on its way"
    monkeypatch.setattr("services.executor.sharing.LEARNING_SECONDS", 0.0)
    assert sharing.knows_to_share(0)
    sharing.ask(1, NOBODY)
    await asyncio.sleep(0)
    assert not sharing.knows_to_share(0)
