"""One key, one worker; duplicates collapse; what arrives meanwhile is handled after.

Two sets and an order, as in client-go: a key is *dirty* when it needs processing, *processing* while somebody has it,
and in the *order* when it can be handed out. The relation between the three is the whole mechanism::

    order  =  dirty − processing

    state of a key        add                        get                       done
    unknown               waits (dirty, in order)    –                         –
    waits                 collapses                  is processed              –
    is processed          is processed, and dirty    –                         unknown
    is processed, dirty   collapses                  –                         waits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from libs.workqueue.items import Handed, Item, K
from libs.workqueue.lanes import Lanes
from libs.workqueue.observer import Observer


class WorkQueue(Generic[K]):
    """Keys to be processed. See the module's docstring for the states of a key.

    Args:
        observer: is told what happens here.
    """

    def __init__(self, observer: Observer[K] | None = None) -> None:
        self.observer = observer
        self._dirty: dict[K, tuple[Item[K], int]] = {}
        """Every key that needs processing, with the time since when; oldest first."""
        self._processing: set[K] = set()
        """Every key that was handed out and is not done. May overlap with dirty."""
        self._order: Lanes[K] = Lanes()
        """dirty − processing."""
        self._shutting_down = False
        self._draining = False

    def __len__(self) -> int:
        """How many keys could be handed out now."""
        return len(self._order)

    @property
    def dirty(self) -> int:
        """How many keys need processing: those that wait, and those added again while they are processed."""
        return len(self._dirty)

    @property
    def processing(self) -> int:
        """How many keys are handed out and not done."""
        return len(self._processing)

    @property
    def shutting_down(self) -> bool:
        """Whether adds are ignored."""
        return self._shutting_down

    @property
    def ended(self) -> bool:
        """Whether `get` will never give anything again, unless a key that is being processed is dirty."""
        return self._shutting_down and not self._order

    @property
    def drained(self) -> bool:
        """After `shut_down_with_drain`: whether all that was handed out is done. After `shut_down`: true at once."""
        return self._shutting_down and not (self._draining and self._processing)

    def is_dirty(self, key: K) -> bool:
        """Whether `key` needs processing, so that an add of it would collapse."""
        return key in self._dirty

    def is_processing(self, key: K) -> bool:
        """Whether `key` is handed out and not done."""
        return key in self._processing

    def add(self, item: Item[K], now_us: int) -> bool:
        """Marks the item's key as needing processing. Returns whether it did not before.

        A key that waits already takes over the item's reasons and its priority if that is higher (and then goes to
        the end of its lane there). Ignored when shutting down.
        """
        if self._shutting_down:
            return False
        known = self._dirty.get(item.key)
        if known is not None:
            self._merge(*known, item)
            return False
        self._dirty[item.key] = (item, now_us)
        if item.key not in self._processing:
            self._order.push(item.key, item.lane, item.priority)
        if self.observer is not None:
            self.observer.added(item.key, now_us)
        return True

    def get(self, now_us: int) -> Handed[K] | None:
        """Hands out the next key, or None when nothing can be. Every key that is handed out needs a `done`."""
        if not self._order:
            return None
        key = self._order.pop()
        item, since_us = self._dirty.pop(key)
        self._processing.add(key)
        if self.observer is not None:
            self.observer.handed(key, now_us - since_us, now_us)
        return Handed(item, now_us - since_us)

    def done(self, key: K, now_us: int | None = None) -> None:
        """Ends the processing of `key`; if it was added meanwhile it can be handed out again.

        Ignored when nobody has `key`. The time is for the observer.

        Raises:
            ValueError: there is an observer and no time. Nothing has changed.
        """
        if key not in self._processing:
            return
        if self.observer is not None and now_us is None:
            raise ValueError("now_us: a queue that is observed must be told when a key was done")
        self._processing.remove(key)
        if key in self._dirty:
            item, _ = self._dirty[key]
            self._order.push(key, item.lane, item.priority)
        if self.observer is not None and now_us is not None:
            self.observer.done(key, now_us)

    def shut_down(self) -> None:
        """Ignores adds from now on, waits for nobody; what waits can still be handed out. Ends a drain."""
        self._shutting_down = True
        self._draining = False

    def shut_down_with_drain(self) -> None:
        """Like `shut_down`, but `drained` only becomes true when all that was handed out is done."""
        self._shutting_down = True
        self._draining = True

    def oldest_us(self, now_us: int) -> int:
        """How long the key that has needed processing longest has done so; 0 when none does."""
        for _, since_us in self._dirty.values():
            return now_us - since_us
        return 0

    def counts(self) -> Iterator[tuple[int, str, int]]:
        """How many wait in each lane of each priority: see `Lanes.counts`."""
        return self._order.counts()

    def waiting(self) -> Iterator[tuple[Item[K], int]]:
        """Every key that could be handed out, with the time since when it needs processing; oldest first, which is not
        the order in which they will be handed out. The queue must not change meanwhile."""
        for item, since_us in self._dirty.values():
            if item.key not in self._processing:
                yield item, since_us

    def _merge(self, known: Item[K], since_us: int, new: Item[K]) -> None:
        merged = known.merged(new)
        if merged is known:
            return
        self._dirty[known.key] = (merged, since_us)
        moves = (merged.priority, merged.lane) != (known.priority, known.lane)
        if moves and known.key not in self._processing:
            self._order.remove(known.key, known.lane, known.priority)
            self._order.push(merged.key, merged.lane, merged.priority)
