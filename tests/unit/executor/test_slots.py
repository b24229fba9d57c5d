"""Slots: taken whole, given back, never given twice."""

from __future__ import annotations

import random

import pytest

from libs.workflow.quantities import Slots
from services.executor.slots import CountedPool, Grant, SlotPool


def test_what_does_not_fit_takes_nothing() -> None:
    pool = SlotPool(1000, 1000, ("0",))
    for wanted in (Slots(1001, 0, 0), Slots(0, 1001, 0), Slots(0, 0, 2), Slots(1000, 1000, 2)):
        assert pool.take(wanted) is None
        assert pool.free == pool.capacity


def test_a_device_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="0, 0"):
        SlotPool(1, 1, ("0", "0"))


def test_nothing_is_promised_twice_in_any_order_of_taking_and_giving_back() -> None:
    dice = random.Random(7)
    pool = SlotPool(4000, 1 << 30, ("0", "1", "2", "3"))
    held: list[Grant] = []
    for _ in range(5000):
        wanted = Slots(dice.randrange(2000), dice.randrange(1 << 29), dice.randrange(3))
        if held and dice.random() < 0.5:
            pool.give_back(held.pop(dice.randrange(len(held))))
        elif (grant := pool.take(wanted)) is not None:
            assert len(grant.devices) == wanted.gpus
            held.append(grant)
        devices = [device for grant in held for device in grant.devices]
        assert len(devices) == len(set(devices)) == 4 - pool.free.gpus
        assert pool.free.cpu_millis == 4000 - sum(grant.slots.cpu_millis for grant in held) >= 0
        assert pool.free.memory_bytes == (1 << 30) - sum(grant.slots.memory_bytes for grant in held) >= 0


def test_a_device_rests_before_it_is_given_again() -> None:
    pool = SlotPool(1, 1, ("0", "1"))
    first = pool.take(Slots(0, 0, 1))
    assert first is not None and first.devices == ("0",)
    pool.give_back(first)
    again = pool.take(Slots(0, 0, 1))
    assert again is not None and again.devices == ("1",)


def test_a_pool_of_places_counts_attempts_and_not_what_they_need() -> None:
    pool = CountedPool(2, Slots(64_000, 1 << 40, 8))
    first, second = pool.take(Slots(64_000, 1, 8)), pool.take(Slots(1, 1, 0))
    assert first is not None and second is not None
    assert pool.take(Slots(1, 0, 0)) is None
    assert pool.take(Slots()) is not None, "who only waits for others must not keep them from running"
    adopted = pool.hold(Slots(1, 1, 0))  # is there, whether there is a place for it or not
    pool.give_back(first)
    assert pool.take(Slots(1, 0, 0)) is None
    pool.give_back(adopted)
    assert pool.take(Slots(1, 0, 0)) is not None
