"""States as groups of rows that fill the same columns, and how a commit writes them into SQLite.

A state is always written whole. An UPDATE of nothing but what has changed saves nothing beside an upsert that sends no
NULL: SQLite has to build the whole row anew in any case.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any

from libs.store import rows, schema
from libs.store.ledger_rows import Batch
from libs.store.sqlite_groups import Groups, Layout, fill, insert, update, upsert
from libs.workflow.state import AttemptState, Data, ExecutionState, NodeState

EXECUTIONS = Layout(
    "executions",
    key=("key", "shard"),
    always=("phase", "observed_generation", "updated_at_us"),
    optional=(
        ("started_at_us",),
        ("ended_at_us",),
        ("outputs_inline", "outputs_size"),
        ("outputs_uri", "outputs_size"),
        ("next_wake_at_us",),
        ("error",),
    ),
    unless=schema.EXECUTION_IS_FINAL,
)
NODES = Layout(
    "nodes",
    key=("execution_key", "node_id"),
    always=(
        "spec_id",
        "parent_id",
        "kind",
        "created_at_us",
        "phase",
        "attempt",
        "user_failures",
        "system_failures",
        "queued_at_us",
        "updated_at_us",
        "cache_status",
        "reservation",
    ),
    optional=(
        ("task_project", "task_domain", "task_name", "task_version"),
        ("started_at_us",),
        ("ended_at_us",),
        ("inputs_inline", "inputs_size"),
        ("inputs_uri", "inputs_size"),
        ("outputs_inline", "outputs_size"),
        ("outputs_uri", "outputs_size"),
        ("wake_at_us",),
        ("error",),
        ("deck_uri",),
        ("choice",),
        ("child_key",),
        ("futures_uri",),
        ("closure_uri",),
        ("items",),
        ("cache_key",),
    ),
    unless=schema.NODE_IS_FINAL,
)
ATTEMPTS = Layout(
    "attempts",
    key=("execution_key", "node_id", "attempt"),
    always=("created_at_us", "phase", "updated_at_us", "seq", "reason"),
    optional=(
        ("executor",),
        ("incarnation",),
        ("placed_at_us",),
        ("log_uri",),
        ("started_at_us",),
        ("ended_at_us",),
        ("error",),
        ("checkpoint_uri",),
    ),
    unless=schema.ATTEMPT_IS_FINAL,
)
EVENTS = Layout("events", always=rows.EVENT_COLUMNS)

_NO_SELDOM = (None,) * 9


class States:
    """What a batch changes of executions, nodes and attempts, and adds to their story, ready to be written."""

    def __init__(self, shard: int, batch: Batch) -> None:
        self._executions = executions(shard, batch.executions)
        self._nodes = nodes(batch.nodes)
        self._attempts = attempts(batch.attempts)
        self._events = {0: list(chain.from_iterable(batch.events))}

    def write(self, connection: sqlite3.Connection) -> int:
        """Number of states that have been written; the others are final, or executions of another shard."""
        insert(connection, EVENTS, self._events)
        return (
            update(connection, EXECUTIONS, self._executions)
            + upsert(connection, NODES, self._nodes)
            + upsert(connection, ATTEMPTS, self._attempts)
        )


def executions(shard: int, states: Iterable[ExecutionState]) -> Groups:
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for state in states:
        values: list[Any] = [state.key, shard, int(state.phase), state.observed_generation, state.updated_at_us]
        shape = 0
        if state.started_at_us is not None:
            shape = 1
            values.append(state.started_at_us)
        if state.ended_at_us is not None:
            shape |= 2
            values.append(state.ended_at_us)
        if state.outputs is not None:
            shape |= _data(values, state.outputs, 4)
        if state.next_wake_at_us is not None:
            shape |= 16
            values.append(state.next_wake_at_us)
        if state.error is not None:
            shape |= 32
            values.append(state.error)
        groups[shape] += values
    return groups


def nodes(states: Iterable[tuple[int, NodeState]]) -> Groups:
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for key, node in states:
        values = [
            key,
            node.id,
            node.spec_id,
            node.parent_id,
            int(node.kind),
            node.created_at_us,
            int(node.phase),
            node.attempt,
            node.user_failures,
            node.system_failures,
            node.queued_at_us,
            node.updated_at_us,
            int(node.cache_status),
            int(node.reservation),
        ]
        shape = 0
        if node.task is not None:
            shape = 1
            values += node.task
        if node.started_at_us is not None:
            shape |= 2
            values.append(node.started_at_us)
        if node.ended_at_us is not None:
            shape |= 4
            values.append(node.ended_at_us)
        if node.inputs is not None:
            shape |= _data(values, node.inputs, 8)
        if node.outputs is not None:
            shape |= _data(values, node.outputs, 32)
        seldom = (
            node.wake_at_us,
            node.error,
            node.deck_uri,
            node.choice,
            node.child_key,
            node.futures_uri,
            node.closure_uri,
            node.items,
            node.cache_key,
        )
        if seldom != _NO_SELDOM:
            shape |= fill(values, seldom, 128)
        groups[shape] += values
    return groups


def attempts(states: Iterable[tuple[int, AttemptState]]) -> Groups:
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for key, attempt in states:
        values = [
            key,
            attempt.node_id,
            attempt.attempt,
            attempt.created_at_us,
            int(attempt.phase),
            attempt.updated_at_us,
            attempt.seq,
            attempt.reason,
        ]
        optional = (
            attempt.executor,
            attempt.incarnation,
            attempt.placed_at_us,
            attempt.log_uri,
            attempt.started_at_us,
            attempt.ended_at_us,
            attempt.error,
            attempt.checkpoint_uri,
        )
        groups[fill(values, optional)] += values
    return groups


def _data(values: list[Any], data: Data, inline: int) -> int:
    """Adds what of `data` is not NULL; returns the bit of its columns: `inline`, or the one after it."""
    if data.uri is None:
        values += (data.inline, data.size)
        return inline
    values += (data.uri, data.size)
    return inline << 1
