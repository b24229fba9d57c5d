"""Which attempt gets which slot, in the leader's view.

The leader decides and counts; the executor is the authority on its slots and may still reject. A decision becomes real
by being committed (promise P4), so placing here only *holds* slots; they are given back when the attempt ends, or when
the commit fails and the execution is forgotten.

Who is next is said in `lines`, who fits where in `rooms`, and who has been passed over too often in `passed`. Here they
meet.

Limits on how many attempts of a project may hold slots at once are exact: until everything that was live when this
leader began is in memory, a project that has a limit gets nothing new. Attempts that want nothing are not counted, for
they only wait for others.

Attempts of quick tasks *follow* others to slots that are not free yet (`quick`), as long as nothing else waits that
could have them: then what becomes free is given away here, one by one, and by the order of the lines.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from libs.workflow.frozen import frozen
from libs.workflow.identity import AttemptId
from libs.workflow.quantities import Slots
from libs.workqueue import Shares, Standing
from services.propeller.lines import Line, Lines
from services.propeller.passed import PassedOver
from services.propeller.quick import Quick
from services.propeller.rooms import NOTHING, Room, Rooms, Wish

_Turn = tuple[int, float, float, int]


@frozen
class Place:
    """Where an attempt goes."""

    executor: str
    incarnation: str


@frozen
class _Held:
    """What an attempt holds."""

    executor: str
    slots: Slots
    project: str
    task: Hashable = None
    quick: bool = False


class Placement:
    """Slots of all executors of a leader, and the attempts that wait for one."""

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        limits: Mapping[str, int] | None = None,
        task_of: Callable[[AttemptId], Hashable] = lambda _: None,
    ) -> None:
        """Per project, `*` for all others: how much of everything it is entitled to, and how many attempts of it may
        run at once. `task_of` tells of an attempt that seeks a slot what its task is, by anything that identifies it,
        or None."""
        self.rooms = Rooms()
        self.quick = Quick()
        self._task_of = task_of
        self.shares = Shares(weights or {}, limits or {})
        self.lines = Lines(self.shares)
        self._held: dict[AttemptId, _Held] = {}
        self._slots_of: dict[str, Slots] = {}
        """What each project holds."""
        self._on: defaultdict[str, set[AttemptId]] = defaultdict(set)
        """Who holds slots of an executor."""
        self._of_execution: dict[int, set[AttemptId]] = {}
        """Waiting and holding attempts by execution."""
        self._passed = PassedOver(self.rooms, self.lines, self._is_wanted)
        self._all_known = not limits
        self._more_room = False
        """Whether something may fit now that did not fit before."""

    @property
    def pending(self) -> int:
        """How many attempts wait for a slot."""
        return len(self.lines)

    def attempts_on(self, executor: str) -> list[AttemptId]:
        """The attempts that hold slots of an executor."""
        return list(self._on.get(executor, ()))

    def all_known(self) -> None:
        """Everything that was placed before is held: limits can be told."""
        self._all_known = True
        self._more_room = True

    def holds_back(self, project: str) -> bool:
        """Whether nothing of a project is placed because what it has running is not known yet."""
        return not self._all_known and self.shares.limit(project) is not None

    # -------------------------------------------------------------------------------------------------- executors

    def open(
        self,
        executor: str,
        incarnation: str,
        capacity: Slots,
        interruptible: bool = False,
        backlog: int = 0,
        places: int = 0,
    ) -> None:
        """An executor is connected, at which so many attempts may wait for slots, and so many hold any (0: as many as
        fit); those that it held before still hold its slots.
        """
        room = Room(executor, incarnation, capacity, interruptible=interruptible, backlog=backlog, places=places)
        self.rooms.add(room)
        for attempt in self._on.get(executor, ()):
            held = self._held[attempt]
            room.take(held.slots, held.quick)
        self._more_room = True

    def set_open(self, executor: str, is_open: bool, because: str = "") -> None:
        """Whether the executor takes new attempts, and why not."""
        room = self.rooms.get(executor)
        if room is not None:
            self._more_room |= is_open and not room.open
            room.open = is_open
            room.closed_because = because

    def offer(self, executor: str, slots: Slots) -> None:
        """What of an executor this leader may hold, where leaders of other shards share it."""
        room = self.rooms.get(executor)
        if room is not None:
            self._more_room |= not slots.fits(room.offered)
            room.offer(slots)

    def forget(self, executor: str) -> None:
        """An executor is lost: its attempts are ended one by one by whoever knows them."""
        self.rooms.remove(executor)

    # --------------------------------------------------------------------------------------------------- attempts

    def seek(
        self,
        attempt: AttemptId,
        slots: Slots,
        now_us: int,
        *,
        project: str,
        priority: int = 0,
        interruptible: bool = False,
        task: Hashable = None,
    ) -> Place | None:
        """A slot at once, or a place in a line. `task` is what `task_of` would tell, if the caller knows it.

        What has just become free belongs to those who wait, if they are as urgent: `fill` gives it to them.
        """
        if attempt in self.lines or attempt in self._held:
            return None
        self._of_execution.setdefault(attempt.execution, set()).add(attempt)
        wish = Wish(slots, priority, interruptible)
        if self._may_have(project, wish):
            room = self.rooms.best(wish)
            if room is not None and not self._is_behind_somebody(wish):
                return self._take(attempt, wish, project, room, task)
            if (
                room is None
                and not len(self.lines)
                and (room := self._room_to_follow(attempt, wish, now_us)) is not None
            ):
                return self._take(attempt, wish, project, room, task)
        self.lines.add(attempt, wish, project, now_us)
        return None

    def unseek(self, attempt: AttemptId) -> None:
        """The attempt waits for a slot no longer. Does nothing for one that does not wait."""
        if self.lines.remove(attempt):
            self._unlist(attempt)
            kept = self.rooms.kept
            if kept is not None and not self._is_wanted(kept[1]):
                self._more_room = True  # for the others: nobody wants any more what it was kept for

    def hold(self, attempt: AttemptId, slots: Slots, executor: str, project: str) -> None:
        """A restored attempt has its executor already."""
        if attempt not in self._held:
            self._of_execution.setdefault(attempt.execution, set()).add(attempt)
            self._hold(attempt, _Held(executor, slots, project))
            if slots != NOTHING:
                self.shares.keep(project)

    def release(self, attempt: AttemptId) -> None:
        """The attempt has ended, or was never committed: its slots are free, and it waits no longer."""
        self.unseek(attempt)
        held = self._held.pop(attempt, None)
        if held is None:
            return
        self._on[held.executor].discard(attempt)
        if not self._on[held.executor]:
            del self._on[held.executor]
        room = self.rooms.get(held.executor)
        if room is not None:
            room.give_back(held.slots, held.quick)
        if held.slots != NOTHING:
            self.shares.give_back(held.project)
            self._slots_of[held.project] = self._slots_of[held.project].minus(held.slots)
        self._more_room = True
        self._unlist(attempt)

    def drop(self, execution: int) -> None:
        """Gives back everything that an execution holds or waits for: it is about to be read again."""
        for attempt in list(self._of_execution.get(execution, ())):
            self.release(attempt)

    def holders(self) -> set[str]:
        """The executors that attempts are placed on, connected or not."""
        return set(self._on)

    def fill(self, now_us: int) -> list[tuple[AttemptId, Place]]:
        """Takes slots for waiting attempts, as many as fit now.

        Costs nothing as long as nothing has become free; after that, what is proportional to the lines and to what is
        placed, never to those who wait.
        """
        if not self._more_room or not len(self.lines):
            return []
        self._more_room = False
        self._passed.keep_one(now_us)

        def room_for(line: Line) -> Room | None:
            room = self.rooms.best(line.wish)
            if room is None:
                self._passed.note(line.wish, now_us)
            return room

        placed = self._serve(self._lines_that_fit(now_us), room_for)
        return placed + self._let_follow(now_us) if len(self.lines) else placed

    def _serve(self, lines: Iterable[Line], room_for: Callable[[Line], Room | None]) -> list[tuple[AttemptId, Place]]:
        """Gives rooms to the heads of lines, whose turn it is first, as long as there are any for their like."""
        placed: list[tuple[AttemptId, Place]] = []
        standings: dict[str, Standing] = {}
        full: set[Wish] = set()
        heads = [(self._turn_of(line, standings), number, line) for number, line in enumerate(lines)]
        heapq.heapify(heads)
        while heads:
            turn, number, line = heads[0]
            current = self._turn_of(line, standings)
            if current != turn:  # its project got something meanwhile: others may come first now
                heapq.heapreplace(heads, (current, number, line))
                continue
            if line.wish in full or not self._may_have(line.project, line.wish):
                heapq.heappop(heads)  # nor may it later: rooms only get fuller here, and so do projects
                continue
            room = room_for(line)
            if room is None:
                full.add(line.wish)
                continue
            attempt = self.lines.serve(line)
            placed.append((attempt, self._take(attempt, line.wish, line.project, room)))
            standings.pop(line.project)
            if not line.attempts:
                heapq.heappop(heads)
        return placed

    def _lines_that_fit(self, now_us: int) -> list[Line]:
        fitting: list[Line] = []
        for wish, lines in self.lines.wishes().items():
            if self.rooms.best(wish) is None:
                self._passed.note(wish, now_us)
            else:
                fitting.extend(lines.values())
        return fitting

    # ----------------------------------------------------------------------------------------------------- followers

    def lasted(self, attempt: AttemptId, us: int) -> None:
        """An attempt has ended so long after its start."""
        held = self._held.get(attempt)
        if held is not None and held.task is not None:
            self.quick.note(held.task, us)

    def turned_away(self, attempt: AttemptId) -> None:
        """An executor had no slot for an attempt."""
        held = self._held.get(attempt)
        if held is not None and held.quick:
            self.quick.doubt(held.task)

    def _let_follow(self, now_us: int) -> list[tuple[AttemptId, Place]]:
        """Places attempts of quick tasks behind others, until somebody's turn comes who is not quick."""
        lines = [
            line
            for line in self.lines
            if line.wish.slots != NOTHING
            and self._may_have(line.project, line.wish)
            and self.rooms.could_ever(line.wish)
        ]
        if not all(self.quick.followers(self._task_of(line.attempts.next())) for line in lines):
            return []
        over = False

        def room_for(line: Line) -> Room | None:
            nonlocal over
            attempt = line.attempts.next()
            over = over or not self.quick.followers(self._task_of(attempt))
            return None if over else self._room_to_follow(attempt, line.wish, now_us)

        return self._serve(lines, room_for)

    def _room_to_follow(self, attempt: AttemptId, wish: Wish, now_us: int) -> Room | None:
        if self.rooms.kept is not None or wish.slots == NOTHING:
            return None
        followers = self.quick.followers(self._task_of(attempt))
        return self.rooms.to_follow(wish, followers, now_us) if followers else None

    # --------------------------------------------------------------------------------------------------- whose turn

    def _turn_of(self, line: Line, standings: dict[str, Standing]) -> _Turn:
        """Sorts lines by whose turn it is; `standings` are those of the projects as they are now."""
        standing = standings.get(line.project)
        if standing is None:
            has = self.rooms.part(self._slots_of.get(line.project, NOTHING))
            standing = standings[line.project] = self.shares.standing(line.project, has)
        return -line.wish.priority, *standing, line.turn

    def _may_have(self, project: str, wish: Wish) -> bool:
        """Whether the project's limit allows for one more."""
        if wish.slots == NOTHING or self.shares.limit(project) is None:
            return True
        return self._all_known and not self.shares.full(project)

    def _is_behind_somebody(self, wish: Wish) -> bool:
        """Whether somebody as urgent waits already for what could be had now."""
        return len(self.lines) > 0 and any(
            other.priority >= wish.priority
            and any(self._may_have(project, other) for project in lines)
            and (other == wish or self.rooms.best(other) is not None)
            for other, lines in self.lines.wishes().items()
        )

    def _take(self, attempt: AttemptId, wish: Wish, project: str, room: Room, task: Hashable = None) -> Place:
        if task is None:
            task = self._task_of(attempt)
        quick = wish.slots != NOTHING and self.quick.followers(task) > 0
        self._hold(attempt, _Held(room.executor, wish.slots, project, task, quick))
        if wish.slots != NOTHING:
            self.shares.take(project)
            self._more_room |= self._passed.served(wish)
        return Place(room.executor, room.incarnation)

    def _hold(self, attempt: AttemptId, held: _Held) -> None:
        self._held[attempt] = held
        self._on[held.executor].add(attempt)
        if held.slots != NOTHING:
            self._slots_of[held.project] = self._slots_of.get(held.project, NOTHING).plus(held.slots)
        room = self.rooms.get(held.executor)
        if room is not None:
            room.take(held.slots, held.quick)

    def _unlist(self, attempt: AttemptId) -> None:
        listed = self._of_execution[attempt.execution]
        listed.discard(attempt)
        if not listed:
            del self._of_execution[attempt.execution]

    # ----------------------------------------------------------------------------------------------- several shards

    def demands(self, now_us: int) -> dict[str, tuple[Wish, int]]:
        """By executor, what is asked of it where others share it, and by how many: the smallest of what is most urgent,
        for what is larger has its turn within what this leader gets; or what its slots are kept for.
        """
        wishes = {wish: sum(len(line.attempts) for line in lines) for wish, lines in self._wanted()}
        for wish in wishes:
            if self.rooms.best(wish) is None:
                self._passed.note(wish, now_us)
        self._passed.keep_one(now_us)
        found: dict[str, tuple[Wish, int]] = {}
        for room in self.rooms.all():
            suiting = [wish for wish in wishes if room.could_ever_suit(wish)]
            if suiting:
                wish = min(suiting, key=lambda wish: (not self.rooms.keeps(room, wish), -wish.priority, wish.slots))
                found[room.executor] = wish, wishes[wish]
        return found

    def _wanted(self) -> Iterator[tuple[Wish, list[Line]]]:
        """The lines of those who may have what they wait for."""
        for wish, lines in self.lines.wishes().items():
            allowed = [line for line in lines.values() if self._may_have(line.project, wish)]
            if allowed and wish.slots != NOTHING:
                yield wish, allowed

    def _is_wanted(self, wish: Wish) -> bool:
        """Whether somebody who may have it waits for it."""
        return any(self._may_have(project, wish) for project in self.lines.wishes().get(wish, ()))
