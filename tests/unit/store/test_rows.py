"""Rows are the schema's columns, each with the right one beside it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.store import rows, schema
from libs.workflow.identity import EntityId
from libs.workflow.phases import AttemptPhase, NodeKind, NodePhase
from libs.workflow.state import AttemptState, Data, NodeState
from tests.support import stored


@pytest.mark.parametrize(
    ("table", "columns", "row"),
    [
        ("executions", rows.EXECUTION_COLUMNS, rows.execution_row(stored.execution())),
        ("executions", ("key", *rows.EXECUTION_OBSERVED), rows.observed_row(stored.execution())),
        ("executions", rows.INTENT_COLUMNS, rows.intent_row(stored.execution().intent)),
        ("nodes", rows.NODE_COLUMNS, rows.node_row(1, stored.node())),
        ("attempts", rows.ATTEMPT_COLUMNS, rows.attempt_row(1, stored.attempt())),
    ],
)
def test_every_column_exists_and_takes_the_value(table: str, columns: Sequence[str], row: rows.Row) -> None:
    assert len(columns) == len(row)
    for name, value in zip(columns, row, strict=True):
        column = schema.metadata.tables[table].c[name]
        assert (value is None and column.nullable) or type(value) is column.type.python_type, name


@pytest.mark.parametrize(("table", "columns"), [("nodes", rows.NODE_COLUMNS), ("attempts", rows.ATTEMPT_COLUMNS)])
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
    task=st.none() | entities,
    inputs=st.none() | data,
    outputs=st.none() | data,
    error=st.none() | st.binary(),
)
attempts = st.builds(AttemptState, phase=st.sampled_from(AttemptPhase), error=st.none() | st.binary())


@given(nodes)
def test_a_node_comes_back_as_it_went(node: NodeState) -> None:
    assert rows.node_from(rows.node_row(1, node)) == node


@given(attempts)
def test_an_attempt_comes_back_as_it_went(attempt: AttemptState) -> None:
    assert rows.attempt_from(rows.attempt_row(1, attempt)) == attempt
