"""The order of what waits: priorities, below them lanes that take turns, below them first come, first served.

A project that submits a million executions fills its own lane; another project's single execution is at most one turn
away. A lane that runs empty is forgotten and starts at the end of the round when it comes back, so leaving and
returning gains nothing.

`Turns` is one round of lanes and knows no priorities: whoever has other ideas of what comes first (slots of different
sizes, shares of different weights: `shares`) keeps several of them.

`OrderedDict` rather than `deque`, because a key must be removable from the middle in constant time, and rather than
`dict`, whose front gets slower to find the more has been taken from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from libs.workqueue.items import K

L = TypeVar("L", bound=Hashable)


class Turns(Generic[L, K]):
    """Lanes that take turns. A key is in here at most once: the caller sees to it."""

    __slots__ = ("_lanes", "_size")

    def __init__(self) -> None:
        self._lanes: OrderedDict[L, OrderedDict[K, None]] = OrderedDict()
        """In the order of their turns; none is ever empty."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        """Lane by lane, not in the order in which they are to be taken."""
        for keys in self._lanes.values():
            yield from keys

    def push(self, key: K, lane: L) -> None:
        """Puts `key` at the end of its lane."""
        keys = self._lanes.get(lane)
        if keys is None:
            keys = self._lanes[lane] = OrderedDict()
        keys[key] = None
        self._size += 1

    def next(self) -> K:
        """The key that `pop` would take. Raises StopIteration when nothing waits."""
        return next(iter(next(iter(self._lanes.values()))))

    def pop(self) -> K:
        """Takes the next key: of the lane whose turn it is the first. Raises IndexError when nothing waits."""
        lanes = self._lanes
        if not lanes:
            raise IndexError("nothing waits")
        lane = next(iter(lanes))
        keys = lanes[lane]
        key, _ = keys.popitem(last=False)
        self._size -= 1
        if not keys:
            del lanes[lane]
        else:
            lanes.move_to_end(lane)
        return key

    def remove(self, key: K, lane: L) -> None:
        """Takes `key` out of the middle. Raises KeyError when it is not where the caller says."""
        del self._lanes[lane][key]
        self._shrink(lane)

    def lanes(self) -> dict[L, int]:
        """How many wait in each lane, in the order of their turns."""
        return {lane: len(keys) for lane, keys in self._lanes.items()}

    def before(self, key: K, lane: L) -> int:
        """How many of its own lane come before `key`. Takes as long as there are."""
        for number, other in enumerate(self._lanes[lane]):
            if other == key:
                return number
        raise KeyError(key)

    def _shrink(self, lane: L) -> None:
        self._size -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]


class Lanes(Generic[K]):
    """Keys in the order in which they are to be taken. A key is in here at most once: the caller sees to it."""

    def __init__(self) -> None:
        self._levels: dict[int, Turns[str, K]] = {}
        """By priority. No level is ever empty."""
        self._priorities: list[int] = []
        """Heap of negated priorities, each once: all that have a level, and some whose level is gone: `pop` drops them.
        """
        self._listed: set[int] = set()
        """The priorities in the heap."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, key: K, lane: str, priority: int) -> None:
        """Puts `key` at the end of its lane."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = Turns()
            if priority not in self._listed:
                self._listed.add(priority)
                heappush(self._priorities, -priority)
        level.push(key, lane)
        self._size += 1

    def pop(self) -> K:
        """Takes the next key: of the highest priority the lane whose turn it is, of that lane the first.

        Raises:
            IndexError: nothing waits.
        """
        priority = -self._priorities[0]
        level = self._levels.get(priority)
        if level is None:
            priority = self._highest()
            level = self._levels[priority]
        key = level.pop()
        self._size -= 1
        if not level:
            del self._levels[priority]
        return key

    def remove(self, key: K, lane: str, priority: int) -> None:
        """Takes `key` out of the middle. Raises KeyError when it is not where the caller says."""
        self._levels[priority].remove(key, lane)
        self._shrink(priority)

    def counts(self) -> Iterator[tuple[int, str, int]]:
        """Priority, lane and how many wait there: the highest priority first, its lanes in the order of their turns."""
        for priority in sorted(self._levels, reverse=True):
            for lane, count in self._levels[priority].lanes().items():
                yield priority, lane, count

    def _highest(self) -> int:
        while -self._priorities[0] not in self._levels:
            self._listed.discard(-heappop(self._priorities))
        return -self._priorities[0]

    def _shrink(self, priority: int) -> None:
        self._size -= 1
        if not self._levels[priority]:
            del self._levels[priority]
