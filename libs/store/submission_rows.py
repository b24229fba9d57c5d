"""New executions on their way into the database: what is asked of a connection, and what it answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from libs.store import holds, launches
from libs.store.at_once import SMALL
from libs.store.holds import Execute, Pair, Sources
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


class Wish(NamedTuple):
    """What a new execution depends on."""

    key: int
    parent: int | None
    recovers: int | None
    names: frozenset[ExecutionId]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores."""

    executions: Sequence[Row]
    """Of the columns `launches.COLUMNS`."""
    tags: Sequence[Row]
    """Of the columns `launches.TAG_COLUMNS`."""
    parents: frozenset[int]
    wishes: Sequence[Wish] = ()
    """Of those that depend on other executions."""

    @property
    def small(self) -> bool:
        """Whether it is a single execution that takes next to no time to store."""
        return len(self.executions) == 1 and len(self.tags) < SMALL and not self.wishes


class Stored(NamedTuple):
    """What became of it. A row that is in none of these was refused because its key is taken."""

    created: set[int]
    taken: Mapping[ExecutionId, int | None]
    """Names of rows that were not created, because other executions have them, and when these were collected."""
    orphans: set[int]
    gone: Collection[int] = frozenset()
    """Keys of those that recover what has been collected."""


class Door(Protocol):
    """Connections of its own; one batch at a time."""

    def store(self, batch: Batch) -> Stored:
        """Stores the batch in one transaction, which is durable when this returns. Raises the driver's errors."""

    def store_at_once(self, batch: Batch) -> Stored | None:
        """Does what `store` does if that waits for nothing but the disk; else does nothing, and returns None. For an
        event loop's own thread, see `at_once`."""

    async def store_on_loop(self, batch: Batch) -> Stored | None:
        """Does what `store` does, without another thread, if that can be waited for so; else does nothing, and returns
        None. See `postgres_loop`."""

    def drop(self) -> None:
        """Forgets the connection of `store`; the next call opens another one."""

    def close(self) -> None:
        """Ends all connections. On the event loop's thread, while nothing is under way."""


def sources_of(execute: Execute, database: holds.Connection, wishes: Sequence[Wish]) -> Sources:
    """What is depended on, kept from the collector until the transaction ends."""
    names = {id for wish in wishes for id in wish.names}
    keys = {key for wish in wishes for key in (wish.parent, wish.recovers) if key is not None}
    return holds.lock(execute, database, names, keys)


def gone_of(wishes: Sequence[Wish], sources: Sources) -> set[int]:
    """Keys of those that recover what has been collected."""
    return {wish.key for wish in wishes if wish.recovers is not None and sources.gone(wish.recovers)}


def hold(execute: Execute, wishes: Sequence[Wish], sources: Sources, created: Collection[int]) -> None:
    """Stores the holds of what was created: they are part of the same transaction."""
    heads = dict(sources.heads)
    pairs = []
    for wish in wishes:
        if wish.key in created:
            # What is launched belongs to the family of its parent; everything else begins one.
            heads[wish.key] = wish.key if wish.parent is None else heads.get(wish.parent, wish.key)
            pairs += [Pair(wish.key, source) for id, source in sources.keys.items() if id in wish.names]
            pairs += [Pair(wish.key, wish.recovers)] if wish.recovers is not None else []
    holds.add(execute, sources._replace(heads=heads), pairs)


def id_of(row: Row) -> ExecutionId:
    return ExecutionId(row[_PROJECT], row[_DOMAIN], row[_NAME])


def is_ending(desired: int, phase: int) -> bool:
    """Whether an execution launches nothing more."""
    return desired == Desired.ABORT or phase in _ENDING
