"""Which attempt gets which slot, in the leader's view.

The leader decides and counts; the executor is the authority on its slots and may still reject. A decision becomes real
by being committed (promise P4), so placing here only *holds* slots; they are given back when the attempt ends, or when
the commit fails and the execution is forgotten.

Attempts that want the same amount of everything wait in one line, first come first served; a slot that becomes free
goes to the line whose head has waited longest among those that fit, so that a large request delays only its like.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from dataclasses import dataclass

from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots


@dataclass(slots=True)
class Room:
    """What an executor has and what of it is held."""

    executor: str
    incarnation: str
    capacity: Slots
    used: Slots = Slots()
    open: bool = True
    """False while it drains, is in trouble, or is not connected: nothing new is placed there."""

    def free(self) -> Slots:
        return self.capacity.minus(self.used)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt goes."""

    executor: str
    incarnation: str


_Line = OrderedDict[AttemptId, int]
"""Attempts that want the same slots, in order of arrival; the number tells which line's head came first."""


class Placement:
    """Slots of all executors of a leader, and the attempts that wait for one."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._lines: dict[Slots, _Line] = {}
        self._wanted: dict[AttemptId, Slots] = {}
        """Every waiting attempt, with what it wants: the key of its line."""
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

    def open(self, executor: str, incarnation: str, capacity: Slots) -> None:
        """An executor is connected; attempts that it held before still hold its slots."""
        used = Slots()
        for holder, slots in self._held.values():
            if holder == executor:
                used = used.plus(slots)
        self._rooms[executor] = Room(executor, incarnation, capacity, used)

    def set_open(self, executor: str, is_open: bool) -> None:
        """Whether the executor takes new attempts."""
        room = self._rooms.get(executor)
        if room is not None:
            room.open = is_open

    def forget(self, executor: str) -> None:
        """An executor is lost: its attempts are ended one by one by whoever knows them."""
        self._rooms.pop(executor, None)

    # --------------------------------------------------------------------------------------------------- attempts

    def seek(self, attempt: AttemptId, slots: Slots) -> Place | None:
        """A slot at once, or a place in the line."""
        if attempt in self._wanted or attempt in self._held:
            return None
        self._of_execution.setdefault(attempt.execution, set()).add(attempt)
        line = self._lines.get(slots)
        if not line and (room := self._roomiest(slots)) is not None:
            return self._take(attempt, slots, room)
        if line is None:
            line = self._lines[slots] = OrderedDict()
        line[attempt] = next(self._arrivals)
        self._wanted[attempt] = slots
        return None

    def unseek(self, attempt: AttemptId) -> None:
        """The attempt waits for a slot no longer. Does nothing for one that does not wait."""
        slots = self._wanted.pop(attempt, None)
        if slots is not None:
            del self._lines[slots][attempt]
            self._unlist(attempt)

    def hold(self, attempt: AttemptId, slots: Slots, executor: str) -> None:
        """A restored attempt has its executor already."""
        if attempt not in self._held:
            self._held[attempt] = (executor, slots)
            self._of_execution.setdefault(attempt.execution, set()).add(attempt)
            self._use(executor, slots)

    def release(self, attempt: AttemptId) -> None:
        """The attempt has ended, or was never committed: its slots are free, and it waits no longer."""
        self.unseek(attempt)
        held = self._held.pop(attempt, None)
        if held is not None:
            executor, slots = held
            self._use(executor, Slots().minus(slots))
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
        lines = deque(sorted(self._heads(), key=lambda head: head[0]))
        while lines:
            _, slots = lines.popleft()
            line = self._lines[slots]
            while line and (room := self._roomiest(slots)) is not None:
                attempt, _ = line.popitem(last=False)
                del self._wanted[attempt]
                placed.append((attempt, self._take(attempt, slots, room)))
        return placed

    def _heads(self) -> list[tuple[int, Slots]]:
        for slots in [slots for slots, line in self._lines.items() if not line]:
            del self._lines[slots]
        return [(next(iter(line.values())), slots) for slots, line in self._lines.items()]

    def _roomiest(self, slots: Slots) -> Room | None:
        """The executor with most free cores among those that the slots fit: spreads work, deterministically."""
        fitting = [room for room in self._rooms.values() if room.open and slots.fits(room.free())]
        return max(fitting, key=lambda room: (room.free(), room.executor), default=None)

    def _take(self, attempt: AttemptId, slots: Slots, room: Room) -> Place:
        self._held[attempt] = (room.executor, slots)
        room.used = room.used.plus(slots)
        return Place(room.executor, room.incarnation)

    def _unlist(self, attempt: AttemptId) -> None:
        listed = self._of_execution[attempt.execution]
        listed.discard(attempt)
        if not listed:
            del self._of_execution[attempt.execution]

    def _use(self, executor: str, slots: Slots) -> None:
        room = self._rooms.get(executor)
        if room is not None:
            room.used = room.used.plus(slots)
