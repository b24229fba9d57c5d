"""Which tasks end so soon that more of them may be assigned to an executor than it has slots.

Between the end of an attempt and the start of the next one in its slot lie a report, a turn, a commit and an
assignment. For a task that takes half a millisecond that is most of its slot's time, for one that takes a second it is
nothing. So attempts of a *quick* task follow others to their slots: as many as have ended, by what its attempts have
taken lately, within `WAIT_US`. That is how long whoever is more urgent may have to wait longer for it, and how long an
attempt waits at one executor although another may have become free meanwhile.

Should it be wrong, the executor turns those away that wait there for too long (`services/executor/backlog.py`); the
task is not quick then, until its attempts have shown that it is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

WAIT_US: Final = 50_000
"""How long attempts that are assigned ahead are expected to wait at most."""

MOST: Final = 50
"""How many follow one that runs at most: enough for a report and an assignment to come and go."""

_WEIGHT: Final = 1 / 8
"""Of the last attempt in what is expected of the next."""

_KNOWN: Final = 10_000
"""Tasks that are remembered, those of which nothing was heard for the longest time go first."""


class Quick:
    """What attempts of each task have taken lately."""

    def __init__(self) -> None:
        self._expected_us: dict[Hashable, float] = {}

    def note(self, task: Hashable, us: int) -> None:
        """An attempt has ended, so long after its start."""
        before = self._expected_us.pop(task, None)
        self._expected_us[task] = us if before is None else before + (us - before) * _WEIGHT
        if len(self._expected_us) > _KNOWN:
            del self._expected_us[next(iter(self._expected_us))]

    def doubt(self, task: Hashable) -> None:
        """An attempt has not got its slot in time: whatever was expected, those before it take longer."""
        if task in self._expected_us:
            self._expected_us[task] = max(self._expected_us[task], 20.0 * WAIT_US)

    def followers(self, task: Hashable) -> int:
        """How many attempts of this task may wait for each that runs."""
        expected_us = self._expected_us.get(task)
        return 0 if expected_us is None else min(MOST, int(WAIT_US / max(expected_us, 1)))
