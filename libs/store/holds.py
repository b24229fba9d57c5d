"""What must stay because something else depends on it.

An execution depends on another one when it recovers it, when it found outputs of it in the cache, or when its inputs
name files of it. A hold says so, between heads: a head is an execution that nobody has launched, and whatever lies
below it (its family) is kept and collected with it. As long as the holder has not been collected, the source is not.

Guaranteed: a hold is durable before the holder can depend on the source. Whoever takes one locks the source's head,
and so does the collector when it condemns it (`garbage`); one of them comes first, and a source that is condemned
already is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as alchemy

from libs.store import rows
from libs.workflow.identity import ExecutionId

Execute = Callable[[str, Mapping[str, Any]], list[rows.Row]]


class Pair(NamedTuple):
    """By keys of executions, heads or not."""

    holder: int
    source: int


class Connection(Protocol):
    """What differs between the two databases."""

    @property
    def keys_in(self) -> str:
        """SQL that follows a column and tests that it is one of `:keys`."""

    @property
    def fence_lock(self) -> str:
        """SQL that follows a SELECT and keeps whoever wants to change what it found out until the transaction ends."""

    def keys(self, keys: Sequence[int]) -> Any:
        """The value of `:keys`."""


class Sources(NamedTuple):
    """Executions that others want to depend on, locked until the transaction ends."""

    keys: Mapping[ExecutionId, int]
    """Of those that were named and exist."""
    heads: Mapping[int, int]
    """By the keys that were asked for, and by `keys`, as far as they exist."""
    there: Collection[int]
    """The heads that are not condemned."""

    def gone(self, key: int) -> bool:
        """Whether there was such an execution, and is no more."""
        return key in self.heads and self.heads[key] not in self.there


def lock(execute: Execute, database: Connection, ids: Collection[ExecutionId], keys: Collection[int]) -> Sources:
    """Looks up executions by id and by key, and keeps the collector from them."""
    named = {id: row[0] for id in sorted(ids) for row in execute(_NAMED, id._asdict())}
    heads: dict[int, int] = dict(_by_keys(execute, database, _HEADS, {*keys, *named.values()}))
    there = _by_keys(execute, database, f"{_THERE} {database.fence_lock}", set(heads.values()))
    return Sources(named, heads, {row[0] for row in there})


def add(execute: Execute, sources: Sources, pairs: Iterable[Pair]) -> None:
    """Stores these holds. What is gone, or never was, can't be held, and nobody needs to hold its own family."""
    found = {(sources.heads.get(pair.source), sources.heads.get(pair.holder)) for pair in pairs}
    wanted = {(source, holder) for source, holder in found if source in sources.there and holder is not None}
    for source, holder in sorted((source or 0, holder or 0) for source, holder in wanted if source != holder):
        execute(_ADD, {"source": source, "holder": holder})


def take(execute: Execute, database: Connection, pairs: Collection[Pair]) -> set[Pair]:
    """Stores these holds and returns those that are refused, for their source is gone."""
    sources = lock(execute, database, (), {key for pair in pairs for key in pair})
    add(execute, sources, pairs)
    return {pair for pair in pairs if sources.gone(pair.source)}


def _by_keys(execute: Execute, database: Connection, statement: str, keys: Collection[int]) -> Sequence[Any]:
    if not keys:
        return ()
    return execute(statement.format(keys_in=database.keys_in), {"keys": database.keys(sorted(keys))})


class Alchemy:
    """For transactions of SQLAlchemy: `connection.run_sync(lambda sync: … Alchemy(sync) …)`."""

    keys_in = "IN :keys"

    def __init__(self, connection: alchemy.Connection) -> None:
        self._connection = connection
        self.fence_lock = "FOR SHARE" if connection.dialect.name == "postgresql" else ""

    def keys(self, keys: Sequence[int]) -> Sequence[int]:
        return keys

    def execute(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        prepared = alchemy.text(statement)
        if "keys" in parameters:
            prepared = prepared.bindparams(alchemy.bindparam("keys", expanding=True))
        result = self._connection.execute(prepared, dict(parameters))
        return [tuple(row) for row in result] if result.returns_rows else []


_NAMED = "SELECT key FROM executions WHERE project = :project AND domain = :domain AND name = :name"
_HEADS = """
WITH RECURSIVE up (key, at, parent) AS (
    SELECT key, key, parent_key FROM executions WHERE key {keys_in}
    UNION ALL
    SELECT up.key, executions.key, executions.parent_key FROM up JOIN executions ON executions.key = up.parent
)
SELECT key, at FROM up WHERE parent IS NULL
"""
_THERE = "SELECT key FROM executions WHERE key {keys_in} AND collected_at_us IS NULL ORDER BY key"
_ADD = "INSERT INTO holds (source_key, holder_key) VALUES (:source, :holder) ON CONFLICT DO NOTHING"
