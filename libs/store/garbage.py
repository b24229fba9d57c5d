"""What the garbage collector reads and writes: synchronous, one connection, for one thread.

A family (a finished execution that nobody has launched, its head, and all below it) goes in steps, and every step is a
transaction of bounded size that begins with the fence:

    mark        a row in `garbage`: nothing has happened to the family yet
    condemn     `condemned_at_us`, and the head's `collected_at_us`: from now on nobody can come to depend on it
    hide        `collected_at_us` of all others of the family: for clients it is gone
    (its blobs are deleted)
    erase       its rows in all tables, a bounded number at a time
    bury        what is left of the executions' own rows is emptied; the names stay taken
    close       its holds and its row in `garbage` are deleted

Guaranteed: whoever is not the leader of the shard in the given epoch changes nothing. Whatever is condemned has no
holder that is not condemned too, at the moment of its condemnation and for ever (see `holds`). Every step may be
repeated, so a leader that finds something condemned begins again with `hide`.

Every method raises Unavailable when the database is away or slow, and the writing ones Fenced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from libs.store import rows, schema
from libs.store.failures import translated
from libs.store.holds import Execute
from libs.store.ledger import EPOCH, Connection, connection_to
from libs.workflow.errors import Fenced, Unavailable
from libs.workflow.identity import ExecutionId

_AT_ONCE = 500
"""Keys in one statement."""


class Finished(NamedTuple):
    """The head of a family that may go."""

    ended_at_us: int
    key: int


class Head(NamedTuple):
    """What decides over a head: whether it has ended, when, and in which project."""

    key: int
    project: str
    ended_at_us: int | None
    """None while it is live."""
    marked_at_us: int | None


class Member(NamedTuple):
    """An execution of a family, and what its submitter has said about its files."""

    key: int
    id: ExecutionId
    spec: bytes
    """Serialized `flyteidl.admin.ExecutionSpec`."""
    buried: bool
    """Whether its row is empty already, and its blobs are gone."""


class Count(NamedTuple):
    """What is on its way out."""

    marked: int
    condemned: int


class Garbage:
    """The collector's connection. Connects at the first call; call `close` to give it up."""

    def __init__(self, url: str) -> None:
        self._database: Connection = connection_to(url)

    def close(self) -> None:
        self._database.close()

    # ------------------------------------------------------------------------------------------------------ reads

    def projects(self) -> list[str]:
        return [row[0] for row in self._read("SELECT id FROM projects ORDER BY id", {})]

    def newest(self, project: str, position: int) -> int | None:
        """When the head ended that is the `position`th (from 0) of its project, counted from the last to end."""
        found = self._read(_NEWEST, {"project": project, "position": position})
        return found[0][0] if found else None

    def finished(self, shard: int, project: str, before_us: int, after: Finished, limit: int) -> list[Finished]:
        """Heads that ended before a time and are not marked, in the order of their ends, from the one after `after`."""
        parameters = {"shard": shard, "project": project, "before": before_us, "limit": limit}
        found = self._read(_FINISHED, {**parameters, "after_us": after.ended_at_us, "after_key": after.key})
        return [Finished(*row) for row in found]

    def marked(self, shard: int, before_us: int, after_key: int, limit: int) -> list[int]:
        """Heads that were marked before a time and are not condemned, by key."""
        return [
            row[0]
            for row in self._read(_MARKED, {"shard": shard, "before": before_us, "after": after_key, "limit": limit})
        ]

    def condemned(self, shard: int, limit: int) -> list[int]:
        """Heads that are condemned and not closed."""
        return [row[0] for row in self._read(_CONDEMNED, {"shard": shard, "limit": limit})]

    def count(self, shard: int) -> Count:
        """What is on its way out."""
        (row,) = self._read(_COUNT, {"shard": shard})
        return Count(row[0], row[1] or 0)

    def heads(self, keys: Collection[int]) -> dict[int, Head]:
        """Of heads that are neither condemned nor collected."""
        return {row[0]: Head(*row) for row in self._by_keys(_HEADS, keys)}

    def families(self, heads: Collection[int]) -> dict[int, list[int]]:
        """By head, the keys of all that belongs to it, the head first. Live ones included: see `live`."""
        found = {head: [head] for head in heads}
        owner = {head: head for head in heads}
        level: Collection[int] = list(heads)
        while level:
            below = {}
            for statement in (_CHILDREN_ENDED, _CHILDREN_LIVE):
                for key, parent in self._by_keys(statement, level):
                    below[key] = owner[parent]
            for key, head in sorted(below.items()):
                found[head].append(key)
            owner.update(below)
            level = below.keys()
        return found

    def live(self, keys: Collection[int]) -> set[int]:
        """Those of these executions that have not ended."""
        return {row[0] for row in self._by_keys(_STILL_LIVE, keys)}

    def cached(self, keys: Collection[int]) -> set[int]:
        """Those of these executions of which the cache has outputs."""
        return {row[0] for row in self._by_keys(_WITH_ENTRIES, keys)}

    def holders(self, heads: Collection[int]) -> dict[int, set[int]]:
        """By source, the heads that hold it and are not condemned."""
        return _holders(self._read, self._database, heads)

    def members(self, keys: Collection[int]) -> list[Member]:
        return [Member(row[0], ExecutionId(*row[1:4]), row[4], row[5] == "") for row in self._by_keys(_MEMBERS, keys)]

    # ----------------------------------------------------------------------------------------------------- writes

    def mark(self, shard: int, epoch: int, heads: Collection[int], now_us: int) -> int:
        """Returns how many had not been marked."""
        with self._fenced(shard, epoch) as execute:
            return sum(len(execute(_MARK, {"key": key, "shard": shard, "now": now_us})) for key in sorted(heads))

    def unmark(self, shard: int, epoch: int, heads: Collection[int]) -> None:
        """Of heads that are to stay after all."""
        with self._fenced(shard, epoch) as execute:
            self._all(execute, _UNMARK, heads)

    def condemn(self, shard: int, epoch: int, heads: Collection[int], now_us: int) -> set[int]:
        """Condemns those of these marked heads that nobody else holds, and returns them."""
        with self._fenced(shard, epoch) as execute:
            # Whoever takes a hold has it locked, or waits for us. Only then the holds are read, with new eyes.
            locked = {row[0] for row in self._all(execute, f"{_LOCK} {self._database.head_lock}", heads)}
            free = without_held(locked, _holders(execute, self._database, locked))
            for statement in (_CONDEMN, _HIDE):
                self._all(execute, statement, free, now=now_us)
        return free

    def hide(self, shard: int, epoch: int, keys: Collection[int], now_us: int) -> None:
        """For clients these executions are gone."""
        with self._fenced(shard, epoch) as execute:
            self._all(execute, _HIDE, keys, now=now_us)

    def erase(self, shard: int, epoch: int, keys: Collection[int], limit: int) -> int:
        """Deletes at most `limit` rows of these executions and returns how many; fewer than `limit` when it is done."""
        erased = 0
        with self._fenced(shard, epoch) as execute:
            for statement in _ERASE:
                if erased < limit:
                    erased += len(self._all(execute, statement, keys, limit=limit - erased))
        return erased

    def bury(self, shard: int, epoch: int, keys: Collection[int]) -> None:
        """Empties the executions' own rows."""
        with self._fenced(shard, epoch) as execute:
            self._all(execute, _BURY, keys, empty=b"")

    def release(self, shard: int, epoch: int, heads: Collection[int], limit: int) -> int:
        """Deletes at most `limit` holds of and on these heads; fewer than `limit` when it is done."""
        released = 0
        with self._fenced(shard, epoch) as execute:
            for statement in _RELEASE:
                if released < limit:
                    released += len(self._all(execute, statement, heads, limit=limit - released))
        return released

    def close_cases(self, shard: int, epoch: int, heads: Collection[int]) -> None:
        """The last step: nothing is left to be done for these heads."""
        with self._fenced(shard, epoch) as execute:
            self._all(execute, _CLOSE, heads)

    def expire_entries(self, shard: int, epoch: int, project: str, before_us: int, limit: int) -> int:
        """Deletes at most `limit` entries of the cache, of tasks of a project, that were last used before a time."""
        with self._fenced(shard, epoch) as execute:
            return len(execute(_EXPIRE, {"project": project, "before": before_us, "limit": limit}))

    def expire_reservations(self, shard: int, epoch: int, before_us: int, limit: int) -> int:
        """Deletes at most `limit` reservations whose owner has ended, which nobody has asked for since."""
        with self._fenced(shard, epoch) as execute:
            return len(execute(_EXPIRE_RESERVATIONS, {"before": before_us, "limit": limit}))

    # ------------------------------------------------------------------------------------------------------------

    def _all(self, execute: Execute, statement: str, keys: Collection[int], **more: Any) -> list[rows.Row]:
        if not keys:
            return []
        parameters = {"keys": self._database.keys(sorted(keys)), **more}
        return execute(statement.format(keys_in=self._database.keys_in), parameters)

    def _by_keys(self, statement: str, keys: Collection[int]) -> Iterator[rows.Row]:
        ordered = sorted(keys)
        for first in range(0, len(ordered), _AT_ONCE):
            yield from self._all(self._read, statement, ordered[first : first + _AT_ONCE])

    def _read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        with self._failures():
            return self._database.read(statement, parameters)

    @contextmanager
    def _fenced(self, shard: int, epoch: int) -> Iterator[Execute]:
        with self._failures(), self._database.transaction() as execute:
            found = execute(f"{EPOCH} {self._database.fence_lock}", {"shard": shard})
            if not found or found[0][0] != epoch:
                raise Fenced(f"shard {shard}: epoch {epoch} is over")
            yield execute

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except Unavailable:
            self._database.drop()
            raise


def without_held(heads: Collection[int], holders: Mapping[int, Collection[int]]) -> set[int]:
    """The largest part of `heads` of which nothing is held by anybody outside it.

    So two that hold each other go together, and one that is held stays with all that it holds.
    """
    free = set(heads)
    held_by: defaultdict[int, set[int]] = defaultdict(set)
    for source, by in holders.items():
        for holder in by:
            held_by[holder].add(source)
    staying = [source for source in free if not free.issuperset(holders.get(source, ()))]
    while staying:
        source = staying.pop()
        if source in free:
            free.discard(source)
            staying.extend(held_by[source])
    return free


def _holders(execute: Execute, database: Connection, heads: Collection[int]) -> dict[int, set[int]]:
    found: defaultdict[int, set[int]] = defaultdict(set)
    for some in _parts(heads):
        parameters = {"keys": database.keys(some)}
        for source, holder in execute(_HOLDERS.format(keys_in=database.keys_in), parameters):
            found[source].add(holder)
    return dict(found)


def _parts(keys: Iterable[int]) -> Iterator[Sequence[int]]:
    ordered = sorted(keys)
    return (ordered[first : first + _AT_ONCE] for first in range(0, len(ordered), _AT_ONCE))


_NEWEST = f"""
SELECT ended_at_us FROM executions WHERE project = :project AND {schema.IS_FINISHED_HEAD}
ORDER BY ended_at_us DESC, key DESC LIMIT 1 OFFSET :position
"""
_FINISHED = f"""
SELECT ended_at_us, key FROM executions
WHERE project = :project AND {schema.IS_FINISHED_HEAD} AND ended_at_us < :before
    AND (ended_at_us, key) > (:after_us, :after_key) AND shard = :shard
    AND NOT EXISTS (SELECT 1 FROM garbage WHERE garbage.head_key = executions.key)
ORDER BY ended_at_us, key LIMIT :limit
"""
_MARKED = """
SELECT head_key FROM garbage
WHERE shard = :shard AND head_key > :after AND condemned_at_us IS NULL AND marked_at_us <= :before
ORDER BY head_key LIMIT :limit
"""
_CONDEMNED = """
SELECT head_key FROM garbage WHERE shard = :shard AND condemned_at_us IS NOT NULL ORDER BY head_key LIMIT :limit
"""
_COUNT = """
SELECT count(*) - count(condemned_at_us), count(condemned_at_us) FROM garbage WHERE shard = :shard
"""
_HEADS = f"""
SELECT key, project, CASE WHEN {schema.EXECUTION_IS_FINAL} THEN ended_at_us END, garbage.marked_at_us
FROM executions LEFT JOIN garbage ON garbage.head_key = executions.key
WHERE key {{keys_in}} AND collected_at_us IS NULL
"""
_CHILDREN_ENDED = f"SELECT key, parent_key FROM executions WHERE parent_key {{keys_in}} AND {schema.HAD_PARENT}"
_CHILDREN_LIVE = f"SELECT key, parent_key FROM executions WHERE parent_key {{keys_in}} AND {schema.HAS_PARENT}"
_STILL_LIVE = f"SELECT key FROM executions WHERE key {{keys_in}} AND {schema.EXECUTION_IS_LIVE}"
_WITH_ENTRIES = "SELECT DISTINCT execution_key FROM cache_entries WHERE execution_key {keys_in}"
_HOLDERS = """
SELECT holds.source_key, holds.holder_key FROM holds JOIN executions ON executions.key = holds.holder_key
WHERE holds.source_key {keys_in} AND executions.collected_at_us IS NULL
"""
_MEMBERS = "SELECT key, project, domain, name, spec, workflow_name FROM executions WHERE key {keys_in} ORDER BY key"

_MARK = """
INSERT INTO garbage (head_key, shard, marked_at_us) VALUES (:key, :shard, :now) ON CONFLICT DO NOTHING
RETURNING head_key
"""
_UNMARK = "DELETE FROM garbage WHERE head_key {keys_in} AND condemned_at_us IS NULL"
_LOCK = f"""
SELECT key FROM executions WHERE key {{keys_in}} AND {schema.IS_FINISHED_HEAD}
    AND EXISTS (SELECT 1 FROM garbage WHERE garbage.head_key = executions.key)
ORDER BY key
"""
_CONDEMN = "UPDATE garbage SET condemned_at_us = :now WHERE head_key {keys_in}"
_HIDE = "UPDATE executions SET collected_at_us = :now WHERE key {keys_in} AND collected_at_us IS NULL"


def _erase(table: str, key: str, owner: str = "execution_key") -> str:
    found = f"SELECT {key} FROM {table} WHERE {owner} {{keys_in}} LIMIT :limit"
    return f"DELETE FROM {table} WHERE ({key}) IN ({found}) RETURNING 1"


_ERASE = [
    _erase("events", "id"),
    _erase("attempts", "execution_key, node_id, attempt"),
    _erase("nodes", "execution_key, node_id"),
    _erase("signals", "execution_key, signal_id"),
    _erase("execution_tags", "execution_key, key, value"),
    _erase("cache_entries", "key"),
]
_RELEASE = [
    _erase("holds", "source_key, holder_key", "source_key"),
    _erase("holds", "source_key, holder_key", "holder_key"),
]
_EMPTIED = {
    **{f"{entity}_{part}": "''" for entity in ("workflow", "launch_plan") for part in ("project", "domain", "name")},
    **{f"{entity}_version": "''" for entity in ("workflow", "launch_plan")},
    **{f"{data}_{part}": "NULL" for data in ("inputs", "outputs") for part in ("inline", "uri", "size")},
    **dict.fromkeys(("principal", "traceparent", "abort_cause", "abort_principal", "parent_node_id"), "''"),
    **dict.fromkeys(("recovers_key", "next_wake_at_us", "error"), "NULL"),
}
_BURY = f"""
UPDATE executions SET {", ".join(f"{name} = {value}" for name, value in _EMPTIED.items())}, spec = :empty
WHERE key {{keys_in}} AND collected_at_us IS NOT NULL
"""
_CLOSE = "DELETE FROM garbage WHERE head_key {keys_in} AND condemned_at_us IS NOT NULL"
_EXPIRE = """
DELETE FROM cache_entries WHERE key IN (
    SELECT key FROM cache_entries WHERE task_project = :project AND used_at_us < :before
    ORDER BY used_at_us LIMIT :limit
) RETURNING 1
"""
_EXPIRE_RESERVATIONS = f"""
DELETE FROM cache_reservations WHERE key IN (
    SELECT held.key FROM cache_reservations AS held
    LEFT JOIN executions ON executions.key = held.execution_key AND {schema.of("executions", schema.EXECUTION_IS_LIVE)}
    WHERE held.created_at_us < :before AND executions.key IS NULL LIMIT :limit
) RETURNING 1
"""
