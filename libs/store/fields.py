"""Which fields of each entity a list may be filtered and sorted by, under FlyteAdmin's names for them.

A field stands for what clients are shown, not for what is stored: an execution that is being aborted is found as
ABORTING, a retried attempt as FAILED. Fields of related entities carry their prefix (`workflow.name`); an entity's own
prefix may be written or left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import execution_pb2, launch_plan_pb2, project_pb2
from sqlalchemy import Column, ColumnElement, Table, case

from libs.store import schema
from libs.store.query import Kind, names_of
from libs.workflow.errors import InvalidArgument
from libs.workflow.phases import AttemptPhase, Desired, ExecutionPhase, NodePhase

_TASK = 1  # flyteidl.core.ResourceType.TASK


@dataclass(frozen=True)
class Field:
    """An expression over the entity's tables, and what its values are."""

    expression: ColumnElement[Any]
    kind: Kind = Kind.TEXT
    names: Mapping[str, int] | None = None
    of_tags: bool = False
    """It belongs to the tags of an execution, of which there may be many: conditions hold for one tag together, and
    nothing can be sorted by it."""

    @property
    def may_be_null(self) -> bool:
        return not isinstance(self.expression, Column) or bool(self.expression.nullable)


@dataclass(frozen=True)
class Entity:
    """What a list is of."""

    name: str
    prefix: str
    fields: Mapping[str, Field]
    key: tuple[ColumnElement[Any], ...]
    """Makes the order total."""
    sort_key: str = "created_at"
    descending: bool = True

    def field(self, written: str, part: str) -> Field:
        """The field that a client calls `written` in that part of its request. Raises InvalidArgument."""
        found = self.fields.get(written.removeprefix(f"{self.prefix}."))
        if found is None:
            raise InvalidArgument(
                f"{part}: {self.name} have no field {written!r}: use one of {', '.join(sorted(self.fields))}"
            )
        return found


def _texts(table: Table, *names: str) -> dict[str, Field]:
    return {name: Field(table.c[name]) for name in names}


def _time(column: ColumnElement[Any]) -> Field:
    return Field(column, Kind.TIME)


def _times(table: Table, *names: str) -> dict[str, Field]:
    return {name: _time(table.c[f"{name}_us"]) for name in names}


def _duration(table: Table) -> Field:
    return Field(table.c.ended_at_us - table.c.started_at_us, Kind.DURATION)


def _related(
    table: Table, prefix: str, *, only_if: ColumnElement[bool] | None = None, column: str = ""
) -> dict[str, Field]:
    """The four parts of another entity's id, whose columns are named after it or after `column`."""
    fields = {}
    for part in ("project", "domain", "name", "version"):
        expression: ColumnElement[Any] = table.c[f"{column or prefix}_{part}"]
        fields[f"{prefix}.{part}"] = Field(expression if only_if is None else case((only_if, expression)))
    return fields


_executions = schema.executions
_SHOWN_EXECUTION_PHASE = case(
    (
        (_executions.c.desired == Desired.ABORT.value) & schema.live(_executions),
        ExecutionPhase.ABORTING.value,
    ),
    else_=_executions.c.phase,
)
_IS_TASK = _executions.c.resource_type == _TASK

EXECUTIONS = Entity(
    "executions",
    "execution",
    {
        **_texts(_executions, "project", "domain", "name", "abort_cause"),
        **_times(_executions, "created_at", "updated_at", "started_at"),
        "execution_created_at": _time(_executions.c.created_at_us),
        "execution_updated_at": _time(_executions.c.updated_at_us),
        "duration": _duration(_executions),
        "phase": Field(_SHOWN_EXECUTION_PHASE, Kind.NAME, names_of(ExecutionPhase)),
        "mode": Field(_executions.c.mode, Kind.NAME, dict(execution_pb2.ExecutionMetadata.ExecutionMode.items())),
        "state": Field(
            _executions.c.state,
            Kind.NAME,
            {name.removeprefix("EXECUTION_"): number for name, number in execution_pb2.ExecutionState.items()},
        ),
        "user": Field(_executions.c.principal),
        **_related(_executions, "workflow"),
        **_related(_executions, "launch_plan", only_if=~_IS_TASK),
        **_related(_executions, "task", only_if=_IS_TASK, column="launch_plan"),
        "execution_tag.key": Field(schema.execution_tags.c.key, of_tags=True),
        "execution_tag.value": Field(schema.execution_tags.c.value, of_tags=True),
        "admin_tag.name": Field(schema.execution_tags.c.key, of_tags=True),
    },
    (_executions.c.key,),
)

_nodes = schema.nodes
_SHOWN_NODE_PHASE = case((_nodes.c.phase == NodePhase.RECOVERED.value, NodePhase.SUCCEEDED.value), else_=_nodes.c.phase)

NODES = Entity(
    "node executions",
    "node_execution",
    {
        **_texts(_nodes, "node_id"),
        **_times(_nodes, "created_at", "updated_at", "started_at"),
        "node_execution_created_at": _time(_nodes.c.created_at_us),
        "node_execution_updated_at": _time(_nodes.c.updated_at_us),
        "duration": _duration(_nodes),
        "phase": Field(_SHOWN_NODE_PHASE, Kind.NAME, names_of(NodePhase)),
    },
    (_nodes.c.execution_key, _nodes.c.node_id),
    descending=False,
)

_attempts = schema.attempts
_SHOWN_ATTEMPT_PHASE = case(
    (
        _attempts.c.phase.in_([AttemptPhase.RETRYABLE_FAILED.value, AttemptPhase.LOST.value]),
        AttemptPhase.FAILED.value,
    ),
    (
        _attempts.c.phase.in_([AttemptPhase.REJECTED.value, AttemptPhase.HANDED_BACK.value]),
        AttemptPhase.ABORTED.value,
    ),
    else_=_attempts.c.phase,
)

ATTEMPTS = Entity(
    "task executions",
    "task_execution",
    {
        **_times(_attempts, "created_at", "updated_at", "started_at"),
        "task_execution_created_at": _time(_attempts.c.created_at_us),
        "task_execution_updated_at": _time(_attempts.c.updated_at_us),
        "duration": _duration(_attempts),
        "retry_attempt": Field(_attempts.c.attempt, Kind.INTEGER),
        "phase": Field(_SHOWN_ATTEMPT_PHASE, Kind.NAME, names_of(AttemptPhase)),
        "node_execution.node_id": Field(_attempts.c.node_id),
        **_related(_nodes, "task"),
    },
    (_attempts.c.execution_key, _attempts.c.node_id, _attempts.c.attempt),
    descending=False,
)


_signals = schema.signals

SIGNALS = Entity(
    "signals",
    "signal",
    {
        **_texts(_executions, "project", "domain", "name"),
        **{f"execution.{part}": Field(_executions.c[part]) for part in ("project", "domain", "name")},
        **_texts(_signals, "signal_id", "node_id"),
        **_times(_signals, "created_at", "set_at"),
    },
    (_signals.c.execution_key, _signals.c.signal_id),
    descending=False,
)


def _registered(table: Table, name: str, prefix: str, more: Mapping[str, Field]) -> Entity:
    key = tuple(table.c[part] for part in ("project", "domain", "name", "version"))
    return Entity(
        name,
        prefix,
        {
            **_texts(table, "project", "domain", "name", "version"),
            "created_at": _time(table.c.created_at_us),
            "updated_at": _time(table.c.created_at_us),
            **more,
        },
        key,
    )


_launch_plans = schema.launch_plans
TASKS = _registered(schema.tasks, "tasks", "task", _texts(schema.tasks, "type"))
WORKFLOWS = _registered(schema.workflows, "workflows", "workflow", {})
LAUNCH_PLANS = _registered(
    _launch_plans,
    "launch plans",
    "launch_plan",
    {
        "updated_at": _time(_launch_plans.c.updated_at_us),
        "state": Field(_launch_plans.c.state, Kind.NAME, dict(launch_plan_pb2.LaunchPlanState.items())),
        **_related(_launch_plans, "workflow"),
    },
)


def names_in(entity: Entity) -> Entity:
    """The names that occur in an entity's table, whatever their versions."""
    fields = {part: entity.fields[part] for part in ("project", "domain", "name")}
    key = tuple(field.expression for field in fields.values())
    return Entity(f"names of {entity.name}", "named_entity", fields, key, sort_key="name", descending=False)


_projects = schema.projects
PROJECTS = Entity(
    "projects",
    "project",
    {
        **_texts(_projects, "id", "name", "description"),
        "identifier": Field(_projects.c.id),
        "created_at": _time(_projects.c.created_at_us),
        "state": Field(_projects.c.state, Kind.NAME, dict(project_pb2.Project.ProjectState.items())),
    },
    (_projects.c.id,),
    descending=False,
)
