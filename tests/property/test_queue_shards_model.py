"""A shard with its streams, against a model that is lists, loops and one step per microsecond: leases, credits, epochs,
bounds, batches, limits and pauses together.

The owner of the real shard only looks when `next_due_us` tells it to; the model looks at every microsecond.
"""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.workflow import errors
from libs.workqueue.composite import WHAT_IS_QUEUED
from libs.workqueue.items import Item
from services.queue.line import Shape, State
from services.queue.shards import Shards, Wanted, WorkStream

KEYS = st.integers(1, 5)
DELAYS = st.integers(0, 12)
BASE, CAP = 2, 9
Where = Literal["main", "sub"]


class ModelShard:
    """Keys in lists, by where they are."""

    def __init__(self) -> None:
        self.waiting: dict[Where, list[int]] = {"main": [], "sub": []}
        self.again: list[int] = []
        """Keys that were added while they are leased."""
        self.delayed: dict[Where, list[tuple[int, int, int]]] = {"main": [], "sub": []}
        self.leased: list[int] = []
        self.returns: dict[int, int] = {}
        self._delays = 0

    def depth(self) -> int:
        return sum(map(len, self.waiting.values())) + sum(map(len, self.delayed.values()))

    def collapses(self, where: Where, key: int, delay: int) -> bool:
        if delay > 0:
            return key in [entry[2] for entry in self.delayed[where]]
        return key in self.waiting[where] or (where == "main" and key in self.again)

    def add(self, where: Where, key: int) -> None:
        if self.collapses(where, key, 0):
            return
        (self.again if where == "main" and key in self.leased else self.waiting[where]).append(key)

    def add_after(self, where: Where, key: int, delay: int, now: int) -> None:
        if delay <= 0:
            self.add(where, key)
            return
        known = [entry for entry in self.delayed[where] if entry[2] == key]
        if not known or now + delay < known[0][0]:
            self._delays += 1
            self.delayed[where] = [entry for entry in self.delayed[where] if entry[2] != key]
            self.delayed[where].append((now + delay, self._delays, key))

    def add_limited(self, key: int, at_least: int, now: int) -> None:
        returns = self.returns.get(key, 0)
        self.returns[key] = returns + 1
        self.add_after("main", key, max(min(BASE * 2**returns, CAP), at_least), now)

    def look(self, where: Where, now: int) -> None:
        for entry in sorted(entry for entry in self.delayed[where] if entry[0] <= now):
            self.delayed[where].remove(entry)
            self.add(where, entry[2])

    def done(self, key: int) -> None:
        self.leased.remove(key)
        if key in self.again:
            self.again.remove(key)
            self.waiting["main"].append(key)


class ShardBehavesAsModel(RuleBasedStateMachine):
    """One shard, whoever leads it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.model = ModelShard()
        self.stream: WorkStream | None = None
        self.old: list[WorkStream] = []
        self.credits = 0
        self.epoch = 0
        self.paused_until = 0
        self.numbers: dict[int, int] = {}
        """Leases by key."""
        self.used: set[int] = set()

    @initialize(
        depth=st.integers(1, 3),
        kind=st.sampled_from(["simple", "batch"]),
        interval=st.integers(1, 10),
        size=st.sampled_from([WHAT_IS_QUEUED, 1, 2]),
    )
    def begin(self, depth: int, kind: Literal["simple", "batch"], interval: int, size: int) -> None:
        self.entrance: Where = "sub" if kind == "batch" else "main"
        self.interval, self.size, self.depth = interval, size, depth
        shape = Shape(kind, interval, size, "expfailure", BASE, CAP)
        self.shards = Shards(depth, 1, shape, retry_after_us=7)
        self.shard = self.shards[0]
        self.shard.queue.advance(0)
        self._lead(True, 4)

    def look(self) -> None:
        """One step of the model, at `now`."""
        self.model.look("sub", self.now)
        if self.entrance == "sub" and self.now % self.interval == 0:
            waiting = self.model.waiting["sub"]
            for key in waiting[: len(waiting) if self.size == WHAT_IS_QUEUED else self.size]:
                waiting.remove(key)
                self.model.add_limited(key, 0, self.now)
        self.model.look("main", self.now)

    @rule(step=st.integers(1, 20))
    def time_passes(self, step: int) -> None:
        until = self.now + step
        while (due := self.shard.queue.next_due_us()) is not None and due <= until:
            self.shard.queue.advance(max(due, self.now))
        while self.now < until:
            self.now += 1
            self.look()
        self.shard.queue.advance(self.now)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4), delay=DELAYS, taken=st.booleans())
    def enqueue(self, keys: list[int], delay: int, taken: bool) -> None:
        for key in keys:
            self._enqueue(key, 0 if taken else delay)
            if taken and self.stream is not None:
                self._take()

    def _enqueue(self, key: int, delay: int) -> None:
        full = self.model.depth() >= self.depth
        free = key in self.model.leased or self.model.collapses(self.entrance, key, delay)
        wanted = [Wanted(0, Item(key), delay)]
        if full and not free:
            with pytest.raises(errors.ResourceExhausted) as refused:
                self.shards.add(wanted, self.now)
            assert refused.value.retry_after_us == 7
        else:
            self.shards.add(wanted, self.now)
            self.model.add_after(self.entrance, key, delay, self.now)

    @rule(higher=st.booleans(), credits=st.integers(1, 4))
    def somebody_leads(self, higher: bool, credits: int) -> None:
        self._lead(higher, credits)

    def _lead(self, higher: bool, credits: int) -> None:
        self.epoch = max(self.epoch + higher, 1)
        if self.stream is not None:
            self.old.append(self.stream)
        self.stream = self.shard.open(self.epoch, f"p{self.epoch}", self.now)
        self.stream.add_credits(credits)
        self.credits = credits
        self._all_come_back()

    @precondition(lambda self: self.epoch > 1)
    @rule()
    def a_leader_of_the_past_comes(self) -> None:
        with pytest.raises(errors.FailedPrecondition):
            self.shard.open(self.epoch - 1, "late", self.now)

    @precondition(lambda self: self.stream is not None)
    @rule()
    def its_stream_breaks(self) -> None:
        assert self.stream is not None
        self.shard.close(self.stream, self.now)
        self.old.append(self.stream)
        self.stream = None
        self._all_come_back()

    def _all_come_back(self) -> None:
        # In the order of their leases.
        for key in list(self.numbers):
            self.model.done(key)
            self.model.add("main", key)
        self.numbers.clear()

    @precondition(lambda self: self.stream is not None)
    @rule()
    def take(self) -> None:
        self._take()

    def _take(self) -> None:
        assert self.stream is not None
        expected: list[int] = []
        if self.now >= self.paused_until:
            while self.model.waiting["main"] and len(self.model.leased) < self.credits:
                key = self.model.waiting["main"].pop(0)
                self.model.leased.append(key)
                expected.append(key)
        leases = self.stream.take(self.now)
        assert [lease.key.key for lease in leases] == expected
        for lease in leases:
            assert lease.number not in self.used, "a lease number is never used twice"
            self.used.add(lease.number)
            self.numbers[lease.key.key] = lease.number

    @precondition(lambda self: self.numbers)
    @rule(key=KEYS)
    def done(self, key: int) -> None:
        if self.stream is not None and key in self.numbers:
            self.stream.done(self.numbers.pop(key), self.now)
            self.model.returns.pop(key, None)
            self.model.done(key)

    @precondition(lambda self: self.numbers)
    @rule(key=KEYS, after=DELAYS)
    def retry(self, key: int, after: int) -> None:
        if self.stream is not None and key in self.numbers:
            self.stream.retry(self.numbers.pop(key), after, self.now)
            self.model.done(key)
            self.model.add_limited(key, after, self.now)

    @precondition(lambda self: self.old)
    @rule(number=st.integers(1, 40))
    def streams_of_the_past_say_nothing(self, number: int) -> None:
        for stream in self.old:
            stream.done(number, self.now)
            stream.retry(number, 0, self.now)
            with pytest.raises(errors.AirscrewError):
                stream.take(self.now)

    @rule(ttl=st.integers(1, 8), shard=st.sampled_from([None, 0]))
    def pause(self, ttl: int, shard: int | None) -> None:
        self.shards.pause(shard, ttl, self.now)
        self.paused_until = self.now + ttl

    @rule(shard=st.sampled_from([None, 0]))
    def resume(self, shard: int | None) -> None:
        self.shards.resume(shard)
        self.paused_until = 0

    @invariant()
    def what_can_be_seen_agrees(self) -> None:
        if not hasattr(self, "shard"):
            return
        model, queue = self.model, self.shard.queue
        assert queue.depth == self.shards.depth == model.depth()
        assert queue.processing == len(model.leased) == len(self.numbers)
        places = list(queue.places(100))
        assert sorted(place.key.key for place in places if place.state is State.WAITING) == sorted(
            model.waiting["main"]
        )
        assert sorted(place.key.key for place in places if place.state is State.GATHERING) == sorted(
            model.waiting["sub"]
        )
        later = sorted(entry[0] for entries in model.delayed.values() for entry in entries)
        assert [place.at_us for place in places if place.state is State.DELAYED] == later
        assert sum(count for _, _, count in queue.counts()) == len(model.waiting["main"])
        for key in range(1, 6):
            assert queue.retries(key) == model.returns.get(key, 0)

    @invariant()
    def nothing_is_lost_and_nothing_is_handed_to_two(self) -> None:
        leased = [] if self.stream is None else [held.key.key for _, held in self.stream.leases]
        assert sorted(leased) == sorted(set(leased)) == sorted(self.numbers)


TestShardBehavesAsModel = ShardBehavesAsModel.TestCase
TestShardBehavesAsModel.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
