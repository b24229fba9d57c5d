"""Rows are the schema's columns, each with the right one beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.store import cache_rows, launches, rows, schema, sqlite_states
from libs.store.sqlite_groups import Groups, Layout
from libs.workflow.identity import EntityId
from libs.workflow.phases import AttemptPhase, CacheStatus, NodeKind, NodePhase, ReservationStatus
from libs.workflow.state import AttemptState, CacheEntry, Data, ExecutionState, NodeState, Reservation, SignalState
from tests.support import stored


@pytest.mark.parametrize(
    ("table", "columns", "row"),
    [
        ("executions", rows.EXECUTION_COLUMNS, rows.execution_row(stored.execution())),
        ("executions", ("key", *rows.EXECUTION_OBSERVED), rows.observed_row(stored.execution())),
        ("executions", rows.INTENT_COLUMNS, rows.intent_row(stored.execution().intent)),
        ("nodes", rows.NODE_COLUMNS, rows.node_row(1, stored.node())),
        ("attempts", rows.ATTEMPT_COLUMNS, rows.attempt_row(1, stored.attempt())),
        ("signals", rows.SIGNAL_COLUMNS, rows.signal_row(1, SignalState("yes", "n0", b"type", 7))),
        ("cache_entries", cache_rows.CACHE_COLUMNS, cache_rows.cache_row(1, stored.entry())),
        (
            "cache_reservations",
            cache_rows.RESERVATION_COLUMNS,
            cache_rows.reservation_row(Reservation(b"key", 1, "n0")),
        ),
        ("executions", launches.COLUMNS, launches.child_row(stored.execution())),
        ("execution_tags", launches.TAG_COLUMNS, launches.tag_rows(1, [("team", "blue")])[0]),
    ],
)
def test_every_column_exists_and_takes_the_value(table: str, columns: Sequence[str], row: rows.Row) -> None:
    assert len(columns) == len(row)
    for name, value in zip(columns, row, strict=True):
        column = schema.metadata.tables[table].c[name]
        assert (value is None and column.nullable) or type(value) is column.type.python_type, name


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("executions", (*launches.COLUMNS, "collected_at_us")),
        ("nodes", rows.NODE_COLUMNS),
        ("attempts", rows.ATTEMPT_COLUMNS),
        ("cache_entries", cache_rows.CACHE_COLUMNS),
        ("launch_plans", rows.LAUNCH_PLAN_COLUMNS),
    ],
)
def test_state_tables_have_no_other_columns(table: str, columns: Sequence[str]) -> None:
    assert set(columns) == set(schema.metadata.tables[table].c.keys())


def test_events_have_only_a_number_beside_what_is_written() -> None:
    assert {*rows.EVENT_COLUMNS, "id"} == set(schema.events.c.keys())


integers = st.integers(0, 2**62)
data = st.builds(Data.of, st.binary(max_size=9)) | st.builds(Data.at, st.text(min_size=1), integers)
entities = st.builds(EntityId, st.text(), st.text(), st.text(), st.text())
nodes = st.builds(
    NodeState,
    kind=st.sampled_from(NodeKind),
    phase=st.sampled_from(NodePhase),
    wake_at_us=st.none() | integers,
    started_at_us=st.none() | integers,
    ended_at_us=st.none() | integers,
    deck_uri=st.none() | st.text(),
    task=st.none() | entities,
    inputs=st.none() | data,
    outputs=st.none() | data,
    error=st.none() | st.binary(),
    choice=st.none() | integers,
    child_key=st.none() | integers,
    futures_uri=st.none() | st.text(),
    closure_uri=st.none() | st.text(),
    items=st.none() | integers,
    cache_status=st.sampled_from(CacheStatus),
    cache_key=st.none() | st.binary(),
    reservation=st.sampled_from(ReservationStatus),
)
executions = st.builds(
    stored.execution,
    key=integers,
    principal=st.text(),
    parent_key=st.none() | integers,
    parent_node_id=st.text(),
    recovers_key=st.none() | integers,
    next_wake_at_us=st.none() | integers,
    started_at_us=st.none() | integers,
    ended_at_us=st.none() | integers,
    outputs=st.none() | data,
    error=st.none() | st.binary(),
)
entries = st.builds(CacheEntry, key=st.binary(), task=entities, outputs=data, node_id=st.text(), attempt=integers)
attempts = st.builds(
    AttemptState,
    phase=st.sampled_from(AttemptPhase),
    executor=st.none() | st.text(),
    incarnation=st.none() | st.text(),
    placed_at_us=st.none() | integers,
    started_at_us=st.none() | integers,
    ended_at_us=st.none() | integers,
    error=st.none() | st.binary(),
    log_uri=st.none() | st.text(),
    checkpoint_uri=st.none() | st.text(),
)


@given(nodes)
def test_a_node_comes_back_as_it_went(node: NodeState) -> None:
    assert rows.node_from(rows.node_row(1, node)) == node


@given(executions)
def test_an_execution_comes_back_as_it_went(execution: ExecutionState) -> None:
    assert rows.execution_from(rows.execution_row(execution)) == execution


@given(entries, integers)
def test_an_entry_of_the_cache_comes_back_with_its_execution(entry: CacheEntry, key: int) -> None:
    assert cache_rows.cache_from(cache_rows.cache_row(key, entry)) == (entry, key)


@given(attempts)
def test_an_attempt_comes_back_as_it_went(attempt: AttemptState) -> None:
    assert rows.attempt_from(rows.attempt_row(1, attempt)) == attempt


def filled(columns: Sequence[str], row: rows.Row) -> dict[str, object]:
    return {name: value for name, value in zip(columns, row, strict=True) if value is not None}


def only(layout: Layout, groups: Groups) -> dict[str, object]:
    ((shape, values),) = groups.items()
    assert None not in values
    return filled(layout.columns(shape), tuple(values))


@given(nodes, st.integers(0), st.integers(0), st.integers(0))
def test_of_a_node_sqlite_gets_what_is_not_null(node: NodeState, created: int, queued: int, updated: int) -> None:
    node.created_at_us, node.queued_at_us, node.updated_at_us = created, queued, updated
    written = only(sqlite_states.NODES, sqlite_states.nodes([(7, node)]))
    assert written == filled(rows.NODE_COLUMNS, rows.node_row(7, node))


@given(attempts, st.integers(0))
def test_of_an_attempt_sqlite_gets_what_is_not_null(attempt: AttemptState, updated: int) -> None:
    attempt.updated_at_us = updated
    written = only(sqlite_states.ATTEMPTS, sqlite_states.attempts([(7, attempt)]))
    assert written == filled(rows.ATTEMPT_COLUMNS, rows.attempt_row(7, attempt))


@given(executions)
def test_of_an_execution_sqlite_gets_what_its_leader_writes_and_is_not_null(execution: ExecutionState) -> None:
    written = only(sqlite_states.EXECUTIONS, sqlite_states.executions(3, [execution]))
    assert written.pop("shard") == 3
    assert written == filled(("key", *rows.EXECUTION_OBSERVED), rows.observed_row(execution))


@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        (sqlite_states.EXECUTIONS, ("key", "shard", *rows.EXECUTION_OBSERVED)),
        (sqlite_states.NODES, rows.NODE_COLUMNS),
        (sqlite_states.ATTEMPTS, rows.ATTEMPT_COLUMNS),
    ],
)
def test_sqlite_is_told_of_every_column(layout: Layout, columns: Sequence[str]) -> None:
    assert {*layout.key, *layout.changing()} == set(columns)


@pytest.mark.parametrize(
    ("columns", "row", "read", "column", "kind"),
    [
        (
            rows.EXECUTION_COLUMNS,
            rows.execution_row(stored.execution()),
            rows.execution_from,
            "phase",
            "ExecutionPhase",
        ),
        (rows.EXECUTION_COLUMNS, rows.execution_row(stored.execution()), rows.execution_from, "desired", "Desired"),
        (rows.NODE_COLUMNS, rows.node_row(1, stored.node()), rows.node_from, "kind", "NodeKind"),
        (rows.NODE_COLUMNS, rows.node_row(1, stored.node()), rows.node_from, "phase", "NodePhase"),
        (rows.NODE_COLUMNS, rows.node_row(1, stored.node()), rows.node_from, "cache_status", "CacheStatus"),
        (rows.NODE_COLUMNS, rows.node_row(1, stored.node()), rows.node_from, "reservation", "ReservationStatus"),
        (rows.ATTEMPT_COLUMNS, rows.attempt_row(1, stored.attempt()), rows.attempt_from, "phase", "AttemptPhase"),
    ],
)
def test_a_number_that_stands_for_nothing_is_refused_in_words(
    columns: Sequence[str], row: rows.Row, read: Callable[[Sequence[object]], object], column: str, kind: str
) -> None:
    values = list(row)
    values[columns.index(column)] = 99
    with pytest.raises(ValueError, match=f"^99 is not a valid {kind}$"):
        read(values)
