"""A new execution as rows: the same for one that is submitted and for one that a launch plan node launches."""

from __future__ import annotations

from collections.abc import Sequence

from flyteidl.admin import execution_pb2

from libs.store import rows
from libs.workflow.state import ExecutionState

COLUMNS = (*rows.EXECUTION_COLUMNS, "resource_type", "mode", "state")

SELDOM = (
    "next_wake_at_us",
    "started_at_us",
    "ended_at_us",
    "outputs_inline",
    "outputs_uri",
    "outputs_size",
    "error",
    "inputs_uri",
    "parent_key",
    "recovers_key",
)
"""Those that are NULL in most new executions."""

TAG_COLUMNS = ("execution_key", "key", "value")

_LAUNCH_PLAN = 3  # flyteidl.core.ResourceType.LAUNCH_PLAN
_CHILD = 4  # flyteidl.admin.ExecutionMetadata.CHILD_WORKFLOW
_ACTIVE = 0  # flyteidl.admin.ExecutionState.EXECUTION_ACTIVE


def row(execution: ExecutionState, resource_type: int, mode: int, state: int) -> rows.Row:
    """The columns COLUMNS."""
    return (*rows.execution_row(execution), resource_type, mode, state)


def child_row(execution: ExecutionState) -> rows.Row:
    """The columns COLUMNS of an execution that a launch plan node launches."""
    return row(execution, _LAUNCH_PLAN, _CHILD, _ACTIVE)


def searchable(spec: execution_pb2.ExecutionSpec) -> Sequence[tuple[str, str]]:
    """What the execution can be found by: its labels as (key, value), and its tags as (tag, nothing)."""
    return [*spec.labels.values.items(), *((tag, "") for tag in spec.tags)]


def tag_rows(key: int, pairs: Sequence[tuple[str, str]]) -> Sequence[rows.Row]:
    """The columns TAG_COLUMNS; each pair once."""
    return [(key, *pair) for pair in dict.fromkeys(pairs)]
