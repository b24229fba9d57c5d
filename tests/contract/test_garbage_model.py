"""What the garbage collector removes, held against a naive model of what is kept, on both databases."""

from __future__ import annotations

import random

import pytest

from libs.store import garbage
from libs.workflow.state import ExecutionState
from services.propeller.garbage.retention import DAY_US, Retention
from tests.support.garbage import Yard


class Model:
    """What is kept, naively: everything that is not old, and all that something kept needs, until nothing changes."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.ended: dict[str, float | None] = {}
        self.needs: set[tuple[str, str]] = set()
        self.entries: dict[str, float] = {}
        """By execution, when its cached outputs were used last."""

    def head(self, name: str) -> str:
        while name in self.parent:
            name = self.parent[name]
        return name

    def kept(self, today: float, days: float, cache_days: float) -> set[str]:
        self.entries = {name: used for name, used in self.entries.items() if today - used <= cache_days}
        kept = {self.head(name) for name, ended in self.ended.items() if ended is None or name in self.entries}
        for name, ended in self.ended.items():
            if name not in self.parent and ended is not None and today - ended <= days:
                kept.add(name)
        while True:
            more = {self.head(source) for holder, source in self.needs if self.head(holder) in kept} - kept
            if not more:
                return {name for name in self.ended if self.head(name) in kept}
            kept |= more

    def forget(self, kept: set[str]) -> None:
        self.ended = {name: ended for name, ended in self.ended.items() if name in kept}
        self.needs = {(holder, source) for holder, source in self.needs if holder in kept}


@pytest.mark.parametrize("seed", range(4))
async def test_what_goes_is_what_a_naive_model_says(yard: Yard, seed: int) -> None:
    dice = random.Random(seed)
    model = Model()
    states: dict[str, ExecutionState] = {}
    running: set[str] = set()
    keys: dict[bytes, str] = {}
    today = 0.0
    for round in range(4):
        for number in range(12):
            await _happens(yard, dice, model, states, running, keys, f"e{round}-{number}", today)
        for name in [name for name in sorted(running) if dice.random() < 0.6]:
            yard.end(states[name], -today)
            model.ended[name] = today
            running.discard(name)
        days, cache_days = dice.choice([5.0, 15.0]), dice.choice([3.0, 20.0])
        kept = model.kept(today, days, cache_days)
        await yard.collector(
            Retention(days={"*": days}, cache_days={"*": cache_days}), rows=dice.choice([2, 40, 1000])
        ).collect()
        if await yard.names() != kept:  # small commits may need more than one pass for what hangs together
            await yard.collector(Retention(days={"*": days}, cache_days={"*": cache_days})).collect()
        model.forget(kept)
        await yard.require_only([states[name] for name in kept])
        step = dice.choice([1.5, 4.5, 9.5])
        today += step
        yard.clock.us += round_us(step)


def round_us(days: float) -> int:
    return int(days * DAY_US)


async def _happens(
    yard: Yard,
    dice: random.Random,
    model: Model,
    states: dict[str, ExecutionState],
    running: set[str],
    keys: dict[bytes, str],
    name: str,
    today: float,
) -> None:
    """A new execution with some relations to those that are there, which may live on, or has ended a while ago."""
    there = sorted(model.ended)
    parent = states[dice.choice(sorted(running))] if running and dice.random() < 0.3 else None
    recovers = None
    ended = [each for each in there if model.ended[each] is not None]
    if ended and parent is None and dice.random() < 0.3:
        recovers = states[dice.choice(ended)]
    named = [states[each] for each in there if dice.random() < 0.05]
    state = states[name] = await yard.begin(name, parent=parent, recovers=recovers, names=named)
    if parent is not None:
        model.parent[name] = parent.id.name
    model.needs |= {(name, source.id.name) for source in (*named, *([recovers] if recovers else []))}
    for key, owner in sorted(keys.items()):
        if owner in model.entries and dice.random() < 0.1 and yard.hit(state, key):
            model.needs.add((name, owner))
            if today - model.entries[owner] > 0.25:  # a use is noted every six hours
                model.entries[owner] = today
    lives = dice.random() < 0.4
    key = name.encode().ljust(32, b".") if dice.random() < 0.3 else b""
    ago = dice.choice([0.0, 4.0, 8.0])
    yard.run(state, None if lives else ago - today, caches=key)
    await yard.write_blobs(state)
    model.ended[name] = None if lives else today - ago
    if lives:
        running.add(name)
    if key:
        keys[key] = name
        model.entries[name] = today if lives else today - ago


def test_of_what_holds_each_other_the_largest_free_part_is_found() -> None:
    dice = random.Random(1)
    for _ in range(300):
        everybody = range(9)
        holders = {source: {dice.choice(everybody) for _ in range(dice.choice([0, 0, 1, 2]))} for source in everybody}
        heads = {head for head in everybody if dice.random() < 0.8}
        free = garbage.without_held(heads, holders)
        naive = set(heads)
        while stays := {source for source in naive if holders[source] - naive}:
            naive -= stays
        assert free == naive
