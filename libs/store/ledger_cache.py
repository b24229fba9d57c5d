"""What the cache knows, and whose turn it is to compute what it does not know.

A reservation belongs to one node until the commit that ends the node's work removes it. One whose node or execution has
ended without that (its leader was lost, it was aborted) is taken over by whoever asks next, so nothing ever has to run
out. A node that asks again keeps what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from libs.store import cache_rows, rows, schema
from libs.store.records import CacheAnswer, CacheRequest
from libs.workflow.state import Data

Execute = Callable[[str, Mapping[str, Any]], list[rows.Row]]


class Connection(Protocol):
    """What differs between the two databases."""

    @property
    def blobs_in(self) -> str:
        """SQL that follows a column and tests that it is one of `:blobs`."""

    def blobs(self, blobs: Sequence[bytes]) -> Any:
        """The value of `:blobs`."""

    def read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]: ...

    def transaction(self) -> Any:
        """Context manager of a writing transaction; gives an `Execute`."""


def look_up(database: Connection, requests: Sequence[CacheRequest], now_us: int) -> list[CacheAnswer]:
    """The answers, in order. Writes only where something is to be reserved.

    A transaction follows: what is reserved is looked up again in it, because its last owner may have committed the
    outputs between the first look and the reservation.
    """
    found = _entries(database.read, database, {request.key for request in requests})
    wanting = [request for request in requests if request.reserve and request.key not in found]
    owned: set[CacheRequest] = set()
    if wanting:
        with database.transaction() as execute:
            owned = _reserve(execute, wanting, now_us)
            late = _entries(execute, database, {request.key for request in owned})
            for request in owned:
                if request.key in late:
                    execute(_RELEASE, request._asdict())
        found |= late
    return [
        CacheAnswer(found.get(request.key), not request.reserve or request.key in found or request in owned)
        for request in requests
    ]


def _entries(execute: Execute, database: Connection, keys: Iterable[bytes]) -> dict[bytes, Data | None]:
    statement = (
        f"SELECT key, outputs_inline, outputs_uri, outputs_size FROM cache_entries WHERE key {database.blobs_in}"
    )
    return {row[0]: rows.data_from(row[1:]) for row in execute(statement, {"blobs": database.blobs(sorted(keys))})}


def _reserve(execute: Execute, requests: Sequence[CacheRequest], now_us: int) -> set[CacheRequest]:
    """Those that have the right now. In order of the keys, so that no two askers wait for each other."""
    return {request for request in sorted(set(requests)) if execute(_RESERVE, {**request._asdict(), "now": now_us})}


# What is final stays final, so a look at the owner that is a moment old can only be too cautious.
_RESERVE = f"""
INSERT INTO cache_reservations AS held (key, execution_key, node_id, created_at_us)
VALUES (:key, :execution_key, :node_id, :now)
ON CONFLICT (key) DO UPDATE SET execution_key = excluded.execution_key, node_id = excluded.node_id,
    created_at_us = excluded.created_at_us
WHERE (held.execution_key = excluded.execution_key AND held.node_id = excluded.node_id)
    OR NOT EXISTS (
        SELECT 1 FROM executions WHERE executions.key = held.execution_key AND executions.{schema.EXECUTION_IS_LIVE}
    )
    OR EXISTS (
        SELECT 1 FROM nodes
        WHERE nodes.execution_key = held.execution_key AND nodes.node_id = held.node_id AND nodes.{schema.NODE_IS_FINAL}
    )
RETURNING key
"""
_RELEASE = f"""
DELETE FROM cache_reservations WHERE {" AND ".join(f"{name} = :{name}" for name in cache_rows.RESERVATION_COLUMNS)}
"""
