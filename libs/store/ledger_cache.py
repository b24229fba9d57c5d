"""What the cache knows, and whose turn it is to compute what it does not know.

A reservation belongs to one node until the commit that ends the node's work removes it. One whose node or execution has
ended without that (its leader was lost, it was aborted) is taken over by whoever asks next, so nothing ever has to run
out. A node that asks again keeps what it has.

Whoever takes over outputs depends on the execution that made them, so it gets a hold on it (`holds`) before it is told.
Outputs of an execution that is condemned are not found any more. That an entry was used is noted now and then, not
every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from libs.store import cache_rows, holds, rows, schema
from libs.store.holds import Execute, Pair
from libs.store.records import CacheAnswer, CacheRequest
from libs.workflow.state import Data

USE_STEP_US = 6 * 3600 * 1_000_000
"""How old the note of an entry's last use may be before a new one is made."""

_REMEMBERED = 100_000


class Taken:
    """Holds that are known to be stored: most look-ups find what the same execution has found before."""

    def __init__(self) -> None:
        self._pairs: set[Pair] = set()

    def missing(self, pairs: Iterable[Pair]) -> set[Pair]:
        return set(pairs) - self._pairs

    def add(self, pairs: Iterable[Pair]) -> None:
        if len(self._pairs) > _REMEMBERED:
            self._pairs.clear()
        self._pairs.update(pairs)


class _Entry(NamedTuple):
    outputs: Data | None
    execution_key: int
    used_at_us: int


class Connection(holds.Connection, Protocol):
    """What differs between the two databases."""

    @property
    def blobs_in(self) -> str:
        """SQL that follows a column and tests that it is one of `:blobs`."""

    def blobs(self, blobs: Sequence[bytes]) -> Any:
        """The value of `:blobs`."""

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]: ...

    def transaction(self) -> Any:
        """Context manager of a writing transaction; gives an `Execute`."""


def look_up(
    database: Connection, requests: Sequence[CacheRequest], now_us: int, taken: Taken | None = None
) -> list[CacheAnswer]:
    """The answers, in order. Writes only where something is to be reserved, or to be held for the first time.

    A transaction follows: what is reserved is looked up again in it, because its last owner may have committed the
    outputs between the first look and the reservation.
    """
    taken = taken or Taken()
    found = _entries(database.read, database, {request.key for request in requests})
    found, held = _hold(database, requests, found, now_us, taken)
    wanting = [request for request in requests if request.reserve and request.key not in found]
    owned: set[CacheRequest] = set()
    if wanting:
        with database.transaction() as execute:
            owned = _reserve(execute, wanting, now_us)
            late = _entries(execute, database, {request.key for request in owned})
            refused = holds.take(execute, database, _pairs(owned, late))
            late = {key: entry for key, entry in late.items() if not _condemned(entry, refused)}
            for request in owned:
                if request.key in late:
                    execute(_RELEASE, request._asdict())
        held |= _pairs(owned, late)
        found |= late
    taken.add(held)
    return [
        CacheAnswer(
            found[request.key].outputs if request.key in found else None,
            not request.reserve or request.key in found or request in owned,
        )
        for request in requests
    ]


def _hold(
    database: Connection,
    requests: Sequence[CacheRequest],
    found: Mapping[bytes, _Entry],
    now_us: int,
    taken: Taken,
) -> tuple[dict[bytes, _Entry], set[Pair]]:
    """What may be taken over of what was found, and the holds that are stored now."""
    pairs = _pairs(requests, found)
    missing = taken.missing(pairs)
    aged = sorted(key for key, entry in found.items() if entry.used_at_us < now_us - USE_STEP_US)
    if not missing and not aged:
        return dict(found), pairs
    with database.transaction() as execute:
        refused = holds.take(execute, database, missing)
        if aged:
            execute(_USED.format(blobs_in=database.blobs_in), {"blobs": database.blobs(aged), "now": now_us})
    kept = {key: entry for key, entry in found.items() if not _condemned(entry, refused)}
    return kept, pairs - refused


def _pairs(requests: Iterable[CacheRequest], found: Mapping[bytes, _Entry]) -> set[Pair]:
    return {
        Pair(request.execution_key, found[request.key].execution_key) for request in requests if request.key in found
    }


def _condemned(entry: _Entry, refused: Iterable[Pair]) -> bool:
    return any(pair.source == entry.execution_key for pair in refused)


def _entries(execute: Execute, database: Connection, keys: Iterable[bytes]) -> dict[bytes, _Entry]:
    statement = _FOUND.format(blobs_in=database.blobs_in)
    return {
        row[0]: _Entry(rows.data_from(row[1:4]), row[4], row[5])
        for row in execute(statement, {"blobs": database.blobs(sorted(keys))})
    }


def _reserve(execute: Execute, requests: Sequence[CacheRequest], now_us: int) -> set[CacheRequest]:
    """Those that have the right now. In order of the keys, so that no two askers wait for each other."""
    return {request for request in sorted(set(requests)) if execute(_RESERVE, {**request._asdict(), "now": now_us})}


_FOUND = """
SELECT key, outputs_inline, outputs_uri, outputs_size, execution_key, used_at_us FROM cache_entries WHERE key {blobs_in}
"""
_USED = "UPDATE cache_entries SET used_at_us = :now WHERE key {blobs_in} AND used_at_us < :now"

_OWNER_IS_LIVE = schema.of("executions", schema.EXECUTION_IS_LIVE)
_NODE_IS_FINAL = schema.of("nodes", schema.NODE_IS_FINAL)
# What is final stays final, so a look at the owner that is a moment old can only be too cautious.
_RESERVE = f"""
INSERT INTO cache_reservations AS held (key, execution_key, node_id, created_at_us)
VALUES (:key, :execution_key, :node_id, :now)
ON CONFLICT (key) DO UPDATE SET execution_key = excluded.execution_key, node_id = excluded.node_id,
    created_at_us = excluded.created_at_us
WHERE (held.execution_key = excluded.execution_key AND held.node_id = excluded.node_id)
    OR NOT EXISTS (
        SELECT 1 FROM executions WHERE executions.key = held.execution_key AND {_OWNER_IS_LIVE}
    )
    OR EXISTS (
        SELECT 1 FROM nodes
        WHERE nodes.execution_key = held.execution_key AND nodes.node_id = held.node_id AND {_NODE_IS_FINAL}
    )
RETURNING key
"""
_RELEASE = f"""
DELETE FROM cache_reservations WHERE {" AND ".join(f"{name} = :{name}" for name in cache_rows.RESERVATION_COLUMNS)}
"""
