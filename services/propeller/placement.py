"""Which attempt gets which slot, in the leader's view.

The leader decides and counts; the executor is the authority on its slots and may still reject. A decision becomes real
by being committed (promise P4), so placing here only *holds* slots; they are given back when the attempt ends, or when
the commit fails and the execution is forgotten.

Attempts that want the same amount of everything, equally urgently, wait in one line, first come first served; a slot
that becomes free goes to the most urgent line, then to the one whose head has waited longest, among those that fit. So
a large request delays only its like.

An executor may be *interruptible*: its machine can be taken away at any moment. Only attempts that allow for that are
placed there, and they rather go there than anywhere else. Attempts that want nothing (`@eager` tasks, which wait for
what they launch) fit everywhere, always, and are spread by number.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots


@dataclass(slots=True)
class Room:
    """What an executor has and what of it is held."""

    executor: str
    incarnation: str
    capacity: Slots
    used: Slots = Slots()
    attempts: int = 0
    """How many attempts hold what is used."""
    open: bool = True
    """False while it drains, is in trouble, or is not connected: nothing new is placed there."""
    interruptible: bool = False

    def free(self) -> Slots:
        return self.capacity.minus(self.used)

    def suits(self, wish: Wish) -> bool:
        """Whether the wish can be granted here now."""
        allowed = wish.interruptible or not self.interruptible
        return self.open and allowed and wish.slots.fits(self.free())


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt goes."""

    executor: str
    incarnation: str


class Wish(NamedTuple):
    """What an attempt wants: the key of its line."""

    slots: Slots
    priority: int
    """Higher first; 0 is normal."""
    interruptible: bool
    """Whether it may run where it can be interrupted."""


_Line = OrderedDict[AttemptId, int]
"""Attempts that want the same, in order of arrival; the number tells which line's head came first."""

_NOTHING = Slots()


class Placement:
    """Slots of all executors of a leader, and the attempts that wait for one."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._lines: dict[Wish, _Line] = {}
        self._wanted: dict[AttemptId, Wish] = {}
        """Every waiting attempt, with what it wants."""
        self._held: dict[AttemptId, tuple[str, Slots]] = {}
        self._of_execution: dict[int, set[AttemptId]] = {}
        """Waiting and holding attempts by execution."""
        self._arrivals = itertools.count()

    @property
    def pending(self) -> int:
        """How many attempts wait for a slot."""
        return len(self._wanted)

    def rooms(self) -> list[Room]:
        return list(self._rooms.values())

    def attempts_on(self, executor: str) -> list[AttemptId]:
        """The attempts that hold slots of an executor."""
        return [attempt for attempt, (holder, _) in self._held.items() if holder == executor]

    # -------------------------------------------------------------------------------------------------- executors

    def open(self, executor: str, incarnation: str, capacity: Slots, interruptible: bool = False) -> None:
        """An executor is connected; attempts that it held before still hold its slots."""
        self._rooms[executor] = Room(executor, incarnation, capacity, interruptible=interruptible)
        for holder, slots in self._held.values():
            if holder == executor:
                self._use(executor, slots, 1)

    def set_open(self, executor: str, is_open: bool) -> None:
        """Whether the executor takes new attempts."""
        room = self._rooms.get(executor)
        if room is not None:
            room.open = is_open

    def forget(self, executor: str) -> None:
        """An executor is lost: its attempts are ended one by one by whoever knows them."""
        self._rooms.pop(executor, None)

    # --------------------------------------------------------------------------------------------------- attempts

    def seek(self, attempt: AttemptId, slots: Slots, priority: int = 0, interruptible: bool = False) -> Place | None:
        """A slot at once, or a place in the line.

        What has just become free belongs to those who wait, if they are as urgent: `fill` gives it to them.
        """
        if attempt in self._wanted or attempt in self._held:
            return None
        self._of_execution.setdefault(attempt.execution, set()).add(attempt)
        wish = Wish(slots, priority, interruptible)
        room = self._best(wish)
        if room is not None and not self._is_behind_somebody(wish):
            return self._take(attempt, wish, room)
        self._lines.setdefault(wish, OrderedDict())[attempt] = next(self._arrivals)
        self._wanted[attempt] = wish
        return None

    def unseek(self, attempt: AttemptId) -> None:
        """The attempt waits for a slot no longer. Does nothing for one that does not wait."""
        wish = self._wanted.pop(attempt, None)
        if wish is not None:
            del self._lines[wish][attempt]
            self._unlist(attempt)

    def hold(self, attempt: AttemptId, slots: Slots, executor: str) -> None:
        """A restored attempt has its executor already."""
        if attempt not in self._held:
            self._held[attempt] = (executor, slots)
            self._of_execution.setdefault(attempt.execution, set()).add(attempt)
            self._use(executor, slots, 1)

    def release(self, attempt: AttemptId) -> None:
        """The attempt has ended, or was never committed: its slots are free, and it waits no longer."""
        self.unseek(attempt)
        held = self._held.pop(attempt, None)
        if held is not None:
            executor, slots = held
            self._use(executor, _NOTHING.minus(slots), -1)
            self._unlist(attempt)

    def drop(self, execution: int) -> None:
        """Gives back everything that an execution holds or waits for: it is about to be read again."""
        for attempt in list(self._of_execution.get(execution, ())):
            self.release(attempt)

    def holders(self) -> set[str]:
        """The executors that attempts are placed on, connected or not."""
        return {executor for executor, _ in self._held.values()}

    def fill(self) -> list[tuple[AttemptId, Place]]:
        """Takes slots for waiting attempts, as many as fit now."""
        placed: list[tuple[AttemptId, Place]] = []
        heads = [_turn_of(wish, line) for wish, line in self._waiting_lines()]
        heapq.heapify(heads)
        while heads:
            *_, wish = heapq.heappop(heads)
            room = self._best(wish)
            if room is None:
                continue  # nor will there be one later: rooms only get fuller here
            line = self._lines[wish]
            attempt, _ = line.popitem(last=False)
            del self._wanted[attempt]
            placed.append((attempt, self._take(attempt, wish, room)))
            if line:
                heapq.heappush(heads, _turn_of(wish, line))
        return placed

    def _waiting_lines(self) -> list[tuple[Wish, _Line]]:
        for wish in [wish for wish, line in self._lines.items() if not line]:
            del self._lines[wish]
        return list(self._lines.items())

    def _is_behind_somebody(self, wish: Wish) -> bool:
        """Whether somebody as urgent waits already for what could be had now."""
        return any(
            other.priority >= wish.priority and (other == wish or self._best(other) is not None)
            for other, line in self._lines.items()
            if line
        )

    def _best(self, wish: Wish) -> Room | None:
        """Of the executors that suit, the one with most free cores: spreads work, deterministically."""
        fitting = [room for room in self._rooms.values() if room.suits(wish)]
        if wish.slots == _NOTHING:
            return min(fitting, key=lambda room: (not room.interruptible, room.attempts, room.executor), default=None)
        return max(fitting, key=lambda room: (room.interruptible, room.free(), room.executor), default=None)

    def _take(self, attempt: AttemptId, wish: Wish, room: Room) -> Place:
        self._held[attempt] = (room.executor, wish.slots)
        self._use(room.executor, wish.slots, 1)
        return Place(room.executor, room.incarnation)

    def _unlist(self, attempt: AttemptId) -> None:
        listed = self._of_execution[attempt.execution]
        listed.discard(attempt)
        if not listed:
            del self._of_execution[attempt.execution]

    def _use(self, executor: str, slots: Slots, attempts: int) -> None:
        room = self._rooms.get(executor)
        if room is not None:
            room.used = room.used.plus(slots)
            room.attempts += attempts


def _turn_of(wish: Wish, line: _Line) -> tuple[int, int, Wish]:
    """Sorts lines by whose turn it is."""
    return -wish.priority, next(iter(line.values())), wish
