"""What waits in a queue, and what becomes of two that wait for the same thing."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class Item(NamedTuple, Generic[K]):
    """A key that wants attention, and how much. Only the key makes it the same as another."""

    key: K
    lane: str = ""
    """Whom to be fair to. Lanes of equal priority take turns."""
    priority: int = 0
    """Higher goes first; 0 is normal."""
    reasons: int = 0
    """Bits that say why. The queue only collects them."""
    trace: str = ""
    """Trace context of whoever asked first. The queue only carries it."""

    def merged(self, other: Item[K]) -> Item[K]:
        """This item after `other`, for the same key, has collapsed into it.

        The higher priority and all reasons are kept; lane and trace stay those of the one that came first, unless it
        had none. Returns `self` when nothing changes.
        """
        merged = Item(
            self.key,
            self.lane or other.lane,
            max(self.priority, other.priority),
            self.reasons | other.reasons,
            self.trace or other.trace,
        )
        return self if merged == self else merged


class Handed(NamedTuple, Generic[K]):
    """An item that is being processed from now on."""

    item: Item[K]
    waited_us: int
    """How long it has waited since it was added, or since its delay was over."""
