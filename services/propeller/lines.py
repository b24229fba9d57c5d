"""Attempts that wait for a slot, in the order in which they are to get one.

Attempts of one project that want the same, equally urgently, wait in one line; in a line executions take turns, so that
a single node does not wait behind the five thousand of another execution. Between lines that could be served:

    1. the more urgent one
    2. the project that has less than its share of all slots (see `Shares`), whatever size its attempts have
    3. within a project, the line whose turn was longest ago

So a request that fits nowhere delays only its like. That it is not itself put off for ever by smaller ones is
`placement`'s business.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from libs.workflow.frozen import frozen
from libs.workflow.identity import AttemptId
from libs.workqueue import Shares, Turns
from services.propeller.rooms import Wish


@dataclass(slots=True)
class Line:
    """Attempts of one project that want the same."""

    wish: Wish
    project: str
    turn: int
    """When it was served last, or began: lower numbers are longer ago."""
    attempts: Turns[int, AttemptId] = field(default_factory=Turns)
    """By execution."""


@frozen
class Waiter:
    """An attempt that waits."""

    line: Line
    since_us: int


class Lines:
    """All lines of a leader."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._lines: defaultdict[Wish, dict[str, Line]] = defaultdict(dict)
        """By what is wanted, then by project; none is empty."""
        self._waiters: dict[AttemptId, Waiter] = {}
        self._of_project: defaultdict[str, int] = defaultdict(int)
        """How many wait."""
        self._turns = itertools.count()
        self.arrived: deque[AttemptId] = deque()
        """Everybody who has begun to wait, for `waits` to take out of here again."""

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._waiters

    def __iter__(self) -> Iterator[Line]:
        for lines in self._lines.values():
            yield from lines.values()

    def find(self, attempt: AttemptId) -> Waiter | None:
        return self._waiters.get(attempt)

    def count(self, project: str) -> int:
        """How many attempts of a project wait."""
        return self._of_project.get(project, 0)

    def wishes(self) -> Mapping[Wish, Mapping[str, Line]]:
        """What is wanted, by whom."""
        return self._lines

    def add(self, attempt: AttemptId, wish: Wish, project: str, now_us: int) -> None:
        if not self._of_project[project]:
            self._shares.enter(project)
        self._of_project[project] += 1
        line = self._lines[wish].get(project)
        if line is None:
            line = self._lines[wish][project] = Line(wish, project, next(self._turns))
        line.attempts.push(attempt, attempt.execution)
        self._waiters[attempt] = Waiter(line, now_us)
        self.arrived.append(attempt)

    def remove(self, attempt: AttemptId) -> bool:
        """Takes an attempt out of its line; False when it is in none."""
        waiter = self._waiters.pop(attempt, None)
        if waiter is None:
            return False
        waiter.line.attempts.remove(attempt, attempt.execution)
        self._left(waiter.line)
        return True

    def serve(self, line: Line) -> AttemptId:
        """Takes the next attempt of a line."""
        attempt = line.attempts.pop()
        line.turn = next(self._turns)
        del self._waiters[attempt]
        self._left(line)
        return attempt

    def _left(self, line: Line) -> None:
        self._of_project[line.project] -= 1
        if not self._of_project[line.project]:
            del self._of_project[line.project]
        if not line.attempts:
            del self._lines[line.wish][line.project]
            if not self._lines[line.wish]:
                del self._lines[line.wish]

    def ahead(self, attempt: AttemptId) -> int:
        """About how many get a slot before this one, if all took equally long and nobody else came.

        Exact within an execution; beside it, executions and projects take turns by weight; what is more urgent goes
        first.
        """
        waiter = self._waiters[attempt]
        mine = waiter.line
        own = mine.attempts.before(attempt, attempt.execution)
        rank = 0
        before = True
        for execution, count in mine.attempts.lanes().items():
            before = before and execution != attempt.execution
            rank += min(own + 1 if before else own, count)
        weight = self._shares.weight(mine.project)
        ahead = rank
        for line in self:
            if line is mine or line.wish.priority < mine.wish.priority:
                continue
            if line.wish.priority > mine.wish.priority:
                ahead += len(line.attempts)
            else:
                fair = (rank + 1) * self._shares.weight(line.project) / weight
                ahead += min(len(line.attempts), int(fair))
        return ahead
