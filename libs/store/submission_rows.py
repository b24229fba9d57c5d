"""New executions on their way into the database: what is asked of a connection, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from libs.store import launches
from libs.store.rows import Row
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase

KEY: Final = launches.COLUMNS.index("key")
PARENT: Final = launches.COLUMNS.index("parent_key")
_PROJECT, _DOMAIN, _NAME = (launches.COLUMNS.index(name) for name in ("project", "domain", "name"))

_ENDING = frozenset(phase.value for phase in ExecutionPhase if phase.terminal) | {
    ExecutionPhase.FAILING.value,
    ExecutionPhase.ABORTING.value,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores."""

    executions: Sequence[Row]
    """Of the columns `launches.COLUMNS`."""
    tags: Sequence[Row]
    """Of the columns `launches.TAG_COLUMNS`."""
    parents: frozenset[int]


class Stored(NamedTuple):
    """What became of it. A row that is in none of these was refused because its key is taken."""

    created: set[int]
    taken: set[ExecutionId]
    """Names of rows that were not created, because other executions have them."""
    orphans: set[int]


class Door(Protocol):
    """A connection of its own; used by one thread at a time."""

    def store(self, batch: Batch) -> Stored:
        """Stores the batch in one transaction, which is durable when this returns. Raises the driver's errors."""

    def drop(self) -> None:
        """Forgets the connection; the next call opens another one."""


def id_of(row: Row) -> ExecutionId:
    return ExecutionId(row[_PROJECT], row[_DOMAIN], row[_NAME])


def is_ending(desired: int, phase: int) -> bool:
    """Whether an execution launches nothing more."""
    return desired == Desired.ABORT or phase in _ENDING
