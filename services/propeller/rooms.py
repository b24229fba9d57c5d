"""Executors as placement sees them: what they have, what of it is held, and who would be welcome there.

An executor may be *interruptible*: its machine can be taken away at any moment. Only attempts that allow for that are
placed there, and they rather go there than anywhere else. Attempts that want nothing (`@eager` tasks, which wait for
what they launch) fit everywhere, always, and are spread by number.

Attempts of tasks that end soon may be placed on an executor that has no free slot, to follow others there (`quick`):
they have their share of what is held, and wait at the executor.

One executor may be *kept* for a large request that was passed over too often: nobody else gets its slots then, unless
he is more urgent, so that they gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from libs.workflow.quantities import Slots

NOTHING = Slots()

ALONE_US: Final = 1_000_000
"""How long nobody of another shard must have wanted anything of an executor until attempts follow others there."""


class Wish(NamedTuple):
    """What an attempt wants."""

    slots: Slots
    priority: int
    """Higher first; 0 is normal."""
    interruptible: bool
    """Whether it may run where it can be interrupted."""


@dataclass(slots=True)
class Room:
    """What an executor has and what of it is held."""

    executor: str
    incarnation: str
    capacity: Slots
    offered: Slots = NOTHING
    """What of it this leader may hold: all of it, unless leaders of other shards share the executor."""
    free: Slots = NOTHING
    """What is offered and not used: may be negative, where an executor has come back with less, or offers less."""
    attempts: int = 0
    """How many attempts hold what is used, or wait for it."""
    open: bool = True
    """False while it drains, is in trouble, or is not connected: nothing new is placed there."""
    closed_because: str = ""
    """Why it is not open."""
    interruptible: bool = False
    backlog: int = 0
    """How many attempts may wait there for slots."""
    places: int = 0
    """How many may hold slots there, whatever they hold: where an executor has a cluster's. 0: as many as fit."""
    holders: int = 0
    """How many do."""
    quick: Slots = NOTHING
    """What of that attempts of quick tasks hold, or wait for."""
    quick_attempts: int = 0
    _alone_since_us: int | None = 0
    """Since when nobody of another shard has wanted anything here, as far as `is_alone` has looked."""

    def __post_init__(self) -> None:
        self.offered = self.free = self.capacity

    @property
    def used(self) -> Slots:
        """What of it is held."""
        return self.offered.minus(self.free)

    @property
    def shared(self) -> bool:
        """Whether leaders of other shards hold some of it, or want to."""
        return self.offered != self.capacity

    def offer(self, slots: Slots) -> None:
        """So much may be held here from now on."""
        if slots != self.capacity:
            self._alone_since_us = None
        self.offered, self.free = slots, slots.minus(self.used)

    def is_alone(self, now_us: int) -> bool:
        """Whether it has not been shared for a while: who wants nothing for a moment comes back for more."""
        if self.shared:
            return False
        if self._alone_since_us is None:
            self._alone_since_us = now_us
        return now_us >= self._alone_since_us + ALONE_US

    def take(self, slots: Slots, quick: bool) -> None:
        """An attempt holds slots from now on, or waits for them if it is of a quick task."""
        self.attempts += 1
        if slots != NOTHING:
            self.holders += 1
            self.free = self.free.minus(slots)
        if quick:
            self.quick = self.quick.plus(slots)
            self.quick_attempts += 1

    def give_back(self, slots: Slots, quick: bool) -> None:
        """An attempt holds its slots no longer."""
        self.attempts -= 1
        if slots != NOTHING:
            self.holders -= 1
            self.free = self.free.plus(slots)
        if quick:
            self.quick = self.quick.minus(slots)
            self.quick_attempts -= 1

    @property
    def taken(self) -> Slots:
        """What of its capacity is held: what waits there has nothing yet."""
        return Slots(*map(min, self.used, self.capacity))

    def lets_follow(self, wish: Wish, followers: int, now_us: int) -> bool:
        """Whether one more may come of a task of which so many may wait for each that runs.

        Where leaders of several shards want the same slots nobody follows, so that what becomes free can be divided.
        """
        if self.quick_attempts >= self.backlog or (self.places and self.holders >= self.places):
            return False
        if not self.is_alone(now_us):
            return False
        lanes = self.free.plus(self.quick)  # what slower attempts leave
        each = 1 + followers
        many = Slots(lanes.cpu_millis * each, lanes.memory_bytes * each, lanes.gpus * each)
        return wish.slots.fits(lanes) and self.quick.plus(wish.slots).fits(many)

    def allows(self, wish: Wish) -> bool:
        return wish.interruptible or not self.interruptible

    def could_ever_suit(self, wish: Wish) -> bool:
        """Whether the wish could be granted here if nobody else were there."""
        return self.open and self.allows(wish) and wish.slots.fits(self.capacity)


class Rooms:
    """All executors of a leader."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._total = NOTHING
        self._kept: tuple[str, Wish] | None = None

    def all(self) -> list[Room]:
        return list(self._rooms.values())

    def get(self, executor: str) -> Room | None:
        return self._rooms.get(executor)

    def add(self, room: Room) -> None:
        self._rooms[room.executor] = room
        self._count()

    def remove(self, executor: str) -> None:
        if self._rooms.pop(executor, None) is not None:
            self._count()

    def _count(self) -> None:
        self._total = NOTHING
        for room in self._rooms.values():
            self._total = self._total.plus(room.capacity)

    def part(self, slots: Slots) -> float:
        """The largest of the parts that these slots are of all cores, of all memory, of all GPUs."""
        return max(
            (has / of if of else 0.0 for has, of in zip(slots, self._total, strict=True)),
            default=0.0,
        )

    # -------------------------------------------------------------------------------------------------- who goes where

    def best(self, wish: Wish) -> Room | None:
        """Of the executors that suit now, the one with most free cores: spreads work, deterministically."""
        slots = wish.slots
        fitting = [room for room in self._rooms.values() if slots.fits(room.free) and self._admits(room, wish)]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        if slots == NOTHING:
            return min(fitting, key=lambda room: (not room.interruptible, room.attempts, room.executor), default=None)
        return max(fitting, key=lambda room: (room.interruptible, room.free, room.executor), default=None)

    def to_follow(self, wish: Wish, followers: int, now_us: int) -> Room | None:
        """Of the executors at which one more may wait for a slot, the one with fewest of such attempts."""
        fitting = [
            room
            for room in self._rooms.values()
            if room.lets_follow(wish, followers, now_us) and self._admits(room, wish)
        ]
        return min(fitting, key=lambda room: (not room.interruptible, room.quick_attempts, room.executor), default=None)

    def _admits(self, room: Room, wish: Wish) -> bool:
        if not (room.open and room.allows(wish)):
            return False
        if room.places and room.holders >= room.places and wish.slots != NOTHING:
            return False
        if self._kept is None or self._kept[0] != room.executor or wish.slots == NOTHING:
            return True
        kept_for = self._kept[1]
        return wish == kept_for or wish.priority > kept_for.priority

    def could_ever(self, wish: Wish) -> bool:
        """Whether any executor could grant the wish if nobody else were there."""
        return any(room.could_ever_suit(wish) for room in self._rooms.values())

    def elsewhere(self, wish: Wish) -> Slots:
        """What the executors that could grant the wish keep for leaders of other shards."""
        kept = NOTHING
        for room in self._rooms.values():
            if room.could_ever_suit(wish):
                kept = kept.plus(room.capacity.minus(room.offered))
        return kept

    # --------------------------------------------------------------------------------------------------- keeping one

    @property
    def kept(self) -> tuple[str, Wish] | None:
        """The executor whose slots gather, and the wish that they gather for."""
        return self._kept

    def keep_one(self, wish: Wish) -> None:
        """Slots of the executor that lacks least shall gather for this wish."""
        possible = [room for room in self._rooms.values() if room.could_ever_suit(wish)]
        nearest = max(possible, key=lambda room: (room.free, room.executor), default=None)
        if nearest is not None:
            self._kept = (nearest.executor, wish)

    def keeps(self, room: Room, wish: Wish) -> bool:
        """Whether the slots of this executor gather for this wish."""
        return self._kept == (room.executor, wish)

    @property
    def shared(self) -> bool:
        """Whether any executor is shared with leaders of other shards, now that they want it."""
        return any(room.shared for room in self._rooms.values())

    def keep_none(self) -> None:
        self._kept = None

    def keeps_in_vain(self) -> bool:
        """Whether the executor that is kept cannot grant the wish any more."""
        if self._kept is None:
            return False
        room = self._rooms.get(self._kept[0])
        return room is None or not room.could_ever_suit(self._kept[1])
