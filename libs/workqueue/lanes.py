"""The order of waiting keys: priorities, below them lanes that take turns, below them first come, first served.

A project that submits a million executions fills its own lane; another project's single execution is at most one turn
away. A lane that runs empty is forgotten and starts at the end of the round when it comes back, so leaving and
returning gains nothing.

`OrderedDict` rather than `deque`, because a key must be removable from the middle in constant time, and rather than
`dict`, whose front gets slower to find the more has been taken from it.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush
from typing import Generic

from libs.workqueue.items import K

_Lane = OrderedDict[K, None]
_Level = OrderedDict[str, _Lane[K]]


class Lanes(Generic[K]):
    """Keys in the order in which they are to be taken. A key is in here at most once: the caller sees to it."""

    def __init__(self) -> None:
        self._levels: dict[int, _Level[K]] = {}
        """By priority; per level its lanes in the order of their turns. No level and no lane is ever empty."""
        self._priorities: list[int] = []
        """Heap of negated priorities: all that have a level, and some whose level is gone, which `pop` drops."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, key: K, lane: str, priority: int) -> None:
        """Puts `key` at the end of its lane."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = OrderedDict()
            heappush(self._priorities, -priority)
        keys = level.get(lane)
        if keys is None:
            keys = level[lane] = OrderedDict()
        keys[key] = None
        self._size += 1

    def pop(self) -> K:
        """Takes the next key: of the highest priority the lane whose turn it is, of that lane the first.

        Raises:
            IndexError: nothing waits.
        """
        priority = self._highest()
        level = self._levels[priority]
        lane, keys = next(iter(level.items()))
        key, _ = keys.popitem(last=False)
        level.move_to_end(lane)
        self._shrink(priority, lane)
        return key

    def remove(self, key: K, lane: str, priority: int) -> None:
        """Takes `key` out of the middle. Raises KeyError when it is not where the caller says."""
        del self._levels[priority][lane][key]
        self._shrink(priority, lane)

    def _highest(self) -> int:
        while -self._priorities[0] not in self._levels:
            heappop(self._priorities)
        return -self._priorities[0]

    def _shrink(self, priority: int, lane: str) -> None:
        self._size -= 1
        level = self._levels[priority]
        if not level[lane]:
            del level[lane]
        if not level:
            del self._levels[priority]
