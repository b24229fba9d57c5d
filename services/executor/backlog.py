"""Assignments that wait here for slots, so that no slot is idle while its leader hears that it is free.

From the end of one task to the start of the next one in its slot lie a report, a turn and a commit of the leader, and
an assignment: some milliseconds, in which a task of half a millisecond could have run ten times. So a leader may assign
more than fits, up to what our Hello says, where it has seen that such tasks end soon (`services/propeller/quick.py`).
Whatever becomes free is given to whoever waits longest.

The leader may be wrong. What has waited for `WAIT_SECONDS` is rejected: nothing of it was begun, so it costs no retry,
and it gets another place.

The first of them may be in line for a slot already, behind what runs there (`kept`): they have begun when that has
ended, and come back if they are recalled before.

Nothing is written down of what waits. Should the executor die and come back, it says what had begun (`journal`): the
rest is assigned anew and costs no retry. If it does not, nobody knows what had begun, and all of it counts as begun.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flyteidl.core import tasks_pb2

from libs.wire.session import Assignment
from libs.workflow.identity import AttemptId

BACKLOG: Final = 1_000
"""How many may wait, for all leaders together."""

WAIT_SECONDS: Final = 1.0
"""Many times what a leader expects anyone to wait: a busy machine may be that much slower than it was."""


@dataclass(slots=True)
class Waiting:
    """One that waits."""

    assignment: Assignment
    template: tasks_pb2.TaskTemplate
    until: float
    """By the clock of the event loop."""
    recall: Callable[[], None] | None = None
    """Has it come back, if it is in line and has not begun. None: it is not in line."""


class Backlog:
    """Those who wait, in the order in which they came. Belongs to one event loop."""

    def __init__(self, group: asyncio.TaskGroup, turn_away: Callable[[Waiting], None]) -> None:
        """`turn_away` is told of whoever has waited for too long, and waits no longer; `group` owns the task that looks
        for them.
        """
        self._group = group
        self._turn_away = turn_away
        self._waiting: OrderedDict[AttemptId, Waiting] = OrderedDict()
        self._in_line: dict[AttemptId, Waiting] = {}
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_line)

    def __contains__(self, id: AttemptId) -> bool:
        return id in self._waiting or id in self._in_line

    @property
    def full(self) -> bool:
        return len(self) >= BACKLOG

    def of(self, shard: int) -> list[AttemptId]:
        """Those whose leader is that of a shard."""
        everyone = (*self._in_line.items(), *self._waiting.items())
        return [id for id, waiting in everyone if waiting.assignment.shard == shard]

    def add(self, assignment: Assignment, template: tasks_pb2.TaskTemplate) -> None:
        loop = asyncio.get_running_loop()
        self._waiting[assignment.id] = Waiting(assignment, template, until=loop.time() + WAIT_SECONDS)
        if self._looking is None or self._looking.done():
            self._looking = self._group.create_task(self._look(), name="backlog")

    def first(self) -> Waiting | None:
        """Who has waited longest, of those who are not in line."""
        return next(iter(self._waiting.values()), None)

    def remove(self, id: AttemptId) -> Waiting | None:
        """Takes one out; None when it does not wait, or not any more: who is in line is recalled, if it can be."""
        self.recall(id)
        return self._waiting.pop(id, None)

    def line_up(self, id: AttemptId, recall: Callable[[], None]) -> None:
        """The first has got into a line."""
        waiting = self._in_line[id] = self._waiting.pop(id)
        waiting.recall = recall

    def recall(self, id: AttemptId) -> None:
        """Has it come back, if it is in line and has not begun."""
        waiting = self._in_line.get(id)
        if waiting is not None and waiting.recall is not None:
            waiting.recall()

    def begun(self, id: AttemptId) -> Waiting:
        """Its turn in the line has come."""
        return self._in_line.pop(id)

    def come_back(self, waiting: Waiting) -> None:
        """It was recalled: it waits as long as ever, before all others."""
        id = waiting.assignment.id
        self._in_line.pop(id, None)
        waiting.recall = None
        self._waiting[id] = waiting
        self._waiting.move_to_end(id, last=False)
        if self._looking is not None:
            self._looking.cancel()
        self._looking = self._group.create_task(self._look(), name="backlog")

    def empty(self) -> list[Waiting]:
        """Takes all out, for good."""
        for id in list(self._in_line):
            self.recall(id)
        if self._looking is not None:
            self._looking.cancel()
        all_of_them = list(self._waiting.values())
        self._waiting.clear()
        return all_of_them

    async def _look(self) -> None:
        """Turns away who has waited for too long, as long as anybody waits."""
        loop = asyncio.get_running_loop()
        while (first := self.first()) is not None:
            await asyncio.sleep(first.until - loop.time())
            while (first := self.first()) is not None and first.until <= loop.time():
                del self._waiting[first.assignment.id]
                self._turn_away(first)
