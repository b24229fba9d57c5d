"""The work queue against a model so naive that it is obviously right: a list, searched from end to end.

The model keeps every wish in a list in order of arrival and works out by looking at all of them who is next.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.workqueue.delaying import DelayingQueue
from libs.workqueue.items import Item

KEYS = st.sampled_from("abcdefgh")
ITEMS = st.builds(
    Item,
    key=KEYS,
    lane=st.just(""),
    priority=st.integers(-1, 2),
    reasons=st.integers(0, 7),
    trace=st.sampled_from(["", "t1", "t2"]),
)


@dataclass
class Wish:
    """Something the model was asked for and has not handed out."""

    item: Item[str]
    since: int
    place: int
    """When it came to the end of its lane: rises with every move."""


class Model:
    """Lists and loops."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.delayed: list[tuple[int, int, Item[str]]] = []
        self.processing: list[str] = []
        self.turns: dict[tuple[int, str], int] = {}
        """(priority, lane) → its place in the round; rises with every turn."""
        self.moves = 0
        self.shut = False
        self.drain = False

    def _next(self) -> int:
        self.moves += 1
        return self.moves

    def _waiting(self) -> list[Wish]:
        return [wish for wish in self.wishes if wish.item.key not in self.processing]

    def _lane(self, wish: Wish) -> tuple[int, str]:
        return (wish.item.priority, wish.item.lane)

    def _queue_up(self, wish: Wish) -> None:
        others = [w for w in self._waiting() if w is not wish and self._lane(w) == self._lane(wish)]
        wish.place = self._next()
        if not others:
            self.turns[self._lane(wish)] = self._next()

    def add(self, item: Item[str], now: int) -> None:
        if self.shut:
            return
        for wish in self.wishes:
            if wish.item.key == item.key:
                before = wish.item
                wish.item = Item(
                    item.key,
                    before.lane,
                    max(before.priority, item.priority),
                    before.reasons | item.reasons,
                    before.trace or item.trace,
                )
                if wish.item.priority != before.priority and item.key not in self.processing:
                    self._queue_up(wish)
                return
        wish = Wish(item, now, 0)
        self.wishes.append(wish)
        if item.key not in self.processing:
            self._queue_up(wish)

    def add_after(self, item: Item[str], delay: int, now: int) -> None:
        if delay <= 0:
            self.add(item, now)
        elif not self.shut:
            self.delayed.append((now + delay, self._next(), item))

    def advance(self, now: int) -> None:
        """A key's delays collapse into one at its earliest time: all of them that were asked for before it."""
        while due := [entry for entry in self.delayed if entry[0] <= now]:
            keys_first: dict[str, tuple[int, int, Item[str]]] = {}
            for entry in self.delayed:
                key = entry[2].key
                keys_first[key] = min(keys_first.get(key, entry), entry)
            first = min(entry for entry in due if keys_first[entry[2].key] == entry)
            same = sorted((entry for entry in self.delayed if entry[2].key == first[2].key), key=lambda entry: entry[1])
            item = same[0][2]
            for entry in same[1:]:
                item = item.merged(entry[2])
            self.delayed = [entry for entry in self.delayed if entry[2].key != first[2].key]
            self.add(item, first[0])

    def get(self, now: int) -> tuple[Item[str], int] | None:
        self.advance(now)
        waiting = self._waiting()
        if not waiting:
            return None
        best = min(waiting, key=lambda w: (-w.item.priority, self.turns[self._lane(w)], w.place))
        self.wishes.remove(best)
        self.turns[self._lane(best)] = self._next()
        self.processing.append(best.item.key)
        return best.item, now - best.since

    def done(self, key: str) -> None:
        if key in self.processing:
            for wish in self.wishes:
                if wish.item.key == key:
                    self.processing.remove(key)
                    self._queue_up(wish)
                    return
            self.processing.remove(key)

    def shut_down(self, drain: bool) -> None:
        self.shut, self.drain, self.delayed = True, drain, []


class QueueBehavesAsModel(RuleBasedStateMachine):
    """Every step on both; every answer and every size equal."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: DelayingQueue[str] = DelayingQueue()
        self.model = Model()
        self.now = 0

    def _in_its_lane(self, item: Item[str]) -> Item[str]:
        """A key always comes in the same lane, as an execution always is of the same project."""
        return item._replace(lane="xyz"[ord(item.key) % 3])

    @rule(item=ITEMS)
    def add(self, item: Item[str]) -> None:
        item = self._in_its_lane(item)
        self.queue.add(item, self.now)
        self.model.add(item, self.now)

    @rule(item=ITEMS, delay=st.integers(-1, 30))
    def add_after(self, item: Item[str], delay: int) -> None:
        item = self._in_its_lane(item)
        self.queue.add_after(item, delay, self.now)
        self.model.add_after(item, delay, self.now)

    @rule(step=st.integers(0, 20))
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule()
    def get(self) -> None:
        handed = self.queue.get(self.now)
        assert (None if handed is None else tuple(handed)) == self.model.get(self.now)

    @rule(key=KEYS)
    def done(self, key: str) -> None:
        self.queue.done(key)
        self.model.done(key)

    @precondition(lambda self: self.now > 40)
    @rule(drain=st.booleans())
    def shut_down(self, drain: bool) -> None:
        self.queue.shut_down_with_drain() if drain else self.queue.shut_down()
        self.model.shut_down(drain)

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.queue) == len(self.model._waiting())
        assert self.queue.processing == len(self.model.processing)
        assert self.queue.delayed == len({item.key for _, _, item in self.model.delayed})
        assert self.queue.next_due_us() == min((due for due, _, _ in self.model.delayed), default=None)

    @invariant()
    def ends_agree(self) -> None:
        assert self.queue.ended == (self.model.shut and not self.model._waiting())
        assert self.queue.drained == (self.model.shut and not (self.model.drain and self.model.processing))

    @invariant()
    def order_is_what_is_dirty_and_not_processed(self) -> None:
        inner = self.queue._queue
        assert len(inner._order) == len(inner._dirty.keys() - inner._processing)


TestQueueBehavesAsModel = QueueBehavesAsModel.TestCase
TestQueueBehavesAsModel.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
