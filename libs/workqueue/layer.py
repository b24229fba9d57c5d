"""What every queue can do, and a layer around one.

A layer is about one thing and passes on the rest. Layers go around each other in any order; what each says of its
guarantees holds for what goes through it, so the owner of a queue keeps the outermost one only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol

from libs.workqueue.items import Handed, Item, K


class Queue(Protocol[K]):
    """A work queue with delays. Times never run backwards from one call to the next."""

    def __len__(self) -> int:
        """How many keys wait and nobody has them."""

    @property
    def dirty(self) -> int:
        """How many keys need processing: those that wait, and those added again while they are processed."""

    @property
    def processing(self) -> int:
        """How many keys are handed out and not done."""

    @property
    def delayed(self) -> int:
        """How many keys are not due yet."""

    @property
    def shutting_down(self) -> bool:
        """Whether adds are ignored."""

    @property
    def ended(self) -> bool:
        """Whether `get` will never give anything again, unless a key that is being processed is dirty."""

    @property
    def drained(self) -> bool:
        """After `shut_down_with_drain`: whether all that was handed out is done. After `shut_down`: true at once."""

    def is_dirty(self, key: K) -> bool:
        """Whether an add of `key` would collapse."""

    def is_processing(self, key: K) -> bool:
        """Whether somebody has `key`."""

    def is_delayed(self, key: K) -> bool:
        """Whether a delayed add of `key` would collapse."""

    def add(self, item: Item[K], now_us: int) -> bool:
        """Marks the item's key as needing processing. Returns whether it did not before."""

    def add_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        """Adds the item `delay_us` from now; at once when that is not positive. Returns whether its key was unknown."""

    def get(self, now_us: int) -> Handed[K] | None:
        """Hands out the next key, or None when nothing can be. Every key that is handed out needs a `done`."""

    def done(self, key: K, now_us: int | None = None) -> None:
        """Ends the processing of `key`. The time is for the observer, and needed when there is one."""

    def advance(self, now_us: int) -> None:
        """Does what is due."""

    def next_due_us(self) -> int | None:
        """When to look again although nothing was added and nothing done; None when that is not necessary."""

    def oldest_us(self, now_us: int) -> int:
        """How long the key that has needed processing longest has done so; 0 when none does."""

    def shut_down(self) -> None:
        """Ignores adds from now on, waits for nobody; what waits can still be handed out. Ends a drain."""

    def shut_down_with_drain(self) -> None:
        """Like `shut_down`, but `drained` only becomes true when all that was handed out is done."""


def short_cut(outer: object, base: type, inner: object, names: Iterable[str]) -> None:
    """Lets calls of `outer` that `base` only passes on to `inner` go there at once, however many layers lie between.

    For methods of these names that no subclass of `base` has changed. A key passes a dozen of them on its way.
    """
    for name in names:
        if getattr(type(outer), name) is getattr(base, name):
            setattr(outer, name, getattr(inner, name))


_PASSED_ON = ("is_dirty", "is_processing", "is_delayed", "add", "add_after", "get", "done", "advance", "next_due_us")


class Layer(Generic[K]):
    """A `Queue` that passes everything on to another."""

    def __init__(self, queue: Queue[K]) -> None:
        self._queue = queue
        short_cut(self, Layer, queue, _PASSED_ON)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def dirty(self) -> int:
        return self._queue.dirty

    @property
    def processing(self) -> int:
        return self._queue.processing

    @property
    def delayed(self) -> int:
        return self._queue.delayed

    @property
    def shutting_down(self) -> bool:
        return self._queue.shutting_down

    @property
    def ended(self) -> bool:
        return self._queue.ended

    @property
    def drained(self) -> bool:
        return self._queue.drained

    def is_dirty(self, key: K) -> bool:
        return self._queue.is_dirty(key)

    def is_processing(self, key: K) -> bool:
        return self._queue.is_processing(key)

    def is_delayed(self, key: K) -> bool:
        return self._queue.is_delayed(key)

    def add(self, item: Item[K], now_us: int) -> bool:
        return self._queue.add(item, now_us)

    def add_after(self, item: Item[K], delay_us: int, now_us: int) -> bool:
        return self._queue.add_after(item, delay_us, now_us)

    def get(self, now_us: int) -> Handed[K] | None:
        return self._queue.get(now_us)

    def done(self, key: K, now_us: int | None = None) -> None:
        self._queue.done(key, now_us)

    def advance(self, now_us: int) -> None:
        self._queue.advance(now_us)

    def next_due_us(self) -> int | None:
        return self._queue.next_due_us()

    def oldest_us(self, now_us: int) -> int:
        return self._queue.oldest_us(now_us)

    def shut_down(self) -> None:
        self._queue.shut_down()

    def shut_down_with_drain(self) -> None:
        self._queue.shut_down_with_drain()
