"""The cache's rows, beside those of executions (`rows`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libs.store.records import CacheRecord
from libs.store.rows import Row, data_from, data_row
from libs.workflow.identity import EntityId
from libs.workflow.state import CacheEntry, Data, Reservation

CACHE_COLUMNS: tuple[str, ...] = (
    "key",
    "task_project",
    "task_domain",
    "task_name",
    "task_version",
    "outputs_inline",
    "outputs_uri",
    "outputs_size",
    "execution_key",
    "node_id",
    "attempt",
    "created_at_us",
    "used_at_us",
)

RESERVATION_COLUMNS: tuple[str, ...] = ("key", "execution_key", "node_id")
"""Whose a reservation is."""


def cache_row(key: int, entry: CacheEntry) -> Row:
    """The columns CACHE_COLUMNS, of an entry that the execution `key` makes."""
    return (
        entry.key,
        *entry.task,
        *data_row(entry.outputs),
        key,
        entry.node_id,
        entry.attempt,
        entry.created_at_us,
        entry.created_at_us,
    )


def reservation_row(reservation: Reservation) -> Row:
    """The columns RESERVATION_COLUMNS."""
    return reservation.key, reservation.execution_key, reservation.node_id


def cache_from(row: Sequence[Any]) -> CacheRecord:
    """Of a row of CACHE_COLUMNS."""
    outputs = data_from(row[5:8]) or Data.of(b"")
    entry = CacheEntry(row[0], EntityId(*row[1:5]), outputs, node_id=row[9], attempt=row[10], created_at_us=row[11])
    return CacheRecord(entry, execution_key=row[8])
