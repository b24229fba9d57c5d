"""Who is entitled to the next of something that many share by weight: a number that only means "less is sooner".

What somebody has now counts first, by weight: whoever has less than his share is served before whoever has more, so
that long work and short work get the same part of what there is. Among those who have the same (nothing at all, where
there is only one to share) they take turns, again by weight. Whoever comes back after a while is due once, not for all
the turns that he did not want.

A limit is exact: `full` says that one more would be one too many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

ANYBODY = "*"
"""Under this name stands what holds for all who are not named."""

Standing = tuple[float, float]


class Shares:
    """How often each of several parties was served, and how much each has. All numbers are per name."""

    def __init__(self, weights: Mapping[str, float], limits: Mapping[str, int]) -> None:
        """Who has no weight has that of `*`, else 1; who has no limit has that of `*`, else none."""
        self._weights = weights
        self._limits = limits
        self._served: dict[str, float] = {}
        """How often each was served, divided by weight; begins where the others are."""
        self._now = 0.0
        """What the one who was served last had been served before."""
        self._count: defaultdict[str, int] = defaultdict(int)

    def weight(self, name: str) -> float:
        return self._weights.get(name, self._weights.get(ANYBODY, 1.0))

    def limit(self, name: str) -> int | None:
        """How many it may have at once."""
        return self._limits.get(name, self._limits.get(ANYBODY))

    def count(self, name: str) -> int:
        """How many it has."""
        return self._count.get(name, 0)

    def full(self, name: str) -> bool:
        """Whether it may not have more."""
        limit = self.limit(name)
        return limit is not None and self.count(name) >= limit

    def enter(self, name: str) -> None:
        """It wants something after a while in which it wanted nothing."""
        self._served[name] = max(self._served.get(name, 0.0), self._now)

    def take(self, name: str) -> None:
        """It has got one more."""
        self._count[name] += 1
        served = self._served.get(name, self._now)
        self._now = max(self._now, served)
        self._served[name] = served + 1 / self.weight(name)

    def keep(self, name: str) -> None:
        """It turns out to have one more than was known: nobody has served it now."""
        self._count[name] += 1

    def give_back(self, name: str) -> None:
        self._count[name] -= 1
        if not self._count[name]:
            del self._count[name]

    def standing(self, name: str, has: float) -> Standing:
        """Sorts by who is entitled to the next; `has` is how much of everything it has now."""
        return has / self.weight(name), self._served.get(name, self._now)
