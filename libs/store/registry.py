"""What is registered: projects, tasks, workflows, launch plans.

A version is immutable. Registering it again says `AlreadyExists` when it means the same (clients carry on) and
`InvalidArgument` when it does not. The one thing that changes is which version of a launch plan is ACTIVE: at most one
of each name, in the schema too.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.store import fields, rows, schema
from libs.store.engine import reading, writing
from libs.store.listing import page_of, select_page
from libs.store.query import Query
from libs.store.records import LaunchPlanRecord, NamedId, Page, ProjectRecord, TaskRecord, WorkflowRecord
from libs.workflow.errors import AlreadyExists, InvalidArgument, NotFound
from libs.workflow.identity import EntityId

INACTIVE = 0
ACTIVE = 1


class Kind(Enum):
    """What has versions."""

    TASK = "task"
    WORKFLOW = "workflow"
    LAUNCH_PLAN = "launch plan"


_ENTITIES = {
    Kind.TASK: (schema.tasks, fields.TASKS),
    Kind.WORKFLOW: (schema.workflows, fields.WORKFLOWS),
    Kind.LAUNCH_PLAN: (schema.launch_plans, fields.LAUNCH_PLANS),
}


class Registry:
    """The registered entities. Every method may also raise `Unavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    # --------------------------------------------------------------------------------------------------- projects

    async def create_project(self, record: ProjectRecord) -> None:
        """Raises AlreadyExists when the id is taken."""
        values = {column.name: getattr(record, column.name) for column in schema.projects.c}
        async with writing(self._engine) as connection:
            if not await _insert(connection, schema.projects, values):
                raise AlreadyExists(f"project {record.id} exists already")

    async def get_project(self, id: str) -> ProjectRecord:
        """Raises NotFound."""
        async with reading(self._engine) as connection:
            found = await connection.execute(select(schema.projects).where(schema.projects.c.id == id))
            row = found.one_or_none()
        if row is None:
            raise NotFound(f"project {id} does not exist")
        return _project(row)

    async def list_projects(self, query: Query) -> Page[ProjectRecord]:
        """Projects, oldest first. The query's project, domain and name must be empty."""
        statement = select_page(select(schema.projects), fields.PROJECTS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _project)

    # ------------------------------------------------------------------------------------------------------ tasks

    async def create_task(self, record: TaskRecord) -> None:
        """Raises AlreadyExists when the version has this structure already, InvalidArgument when it has another."""
        values = {
            **_named(record.id),
            "type": record.type,
            "digest": record.digest,
            "spec": record.spec,
            "closure": record.closure,
            "created_at_us": record.created_at_us,
        }
        await self._create(Kind.TASK, record.id, values)

    async def get_task(self, id: EntityId) -> TaskRecord:
        """Raises NotFound."""
        return _task(await self._get(Kind.TASK, id))

    async def list_tasks(self, query: Query) -> Page[TaskRecord]:
        """Versions of tasks, newest first."""
        statement = select_page(select(schema.tasks), fields.TASKS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _task)

    # -------------------------------------------------------------------------------------------------- workflows

    async def create_workflow(self, record: WorkflowRecord) -> None:
        """Raises AlreadyExists when the version has this structure already, InvalidArgument when it has another."""
        values = {
            **_named(record.id),
            "digest": record.digest,
            "spec": record.spec,
            "closure": record.closure,
            "created_at_us": record.created_at_us,
        }
        await self._create(Kind.WORKFLOW, record.id, values)

    async def get_workflow(self, id: EntityId) -> WorkflowRecord:
        """Raises NotFound."""
        return _workflow(await self._get(Kind.WORKFLOW, id))

    async def list_workflows(self, query: Query) -> Page[WorkflowRecord]:
        """Versions of workflows, newest first. Their `spec` and `closure`, which may be megabytes, are left empty."""
        columns = [
            column if column.name not in ("spec", "closure") else literal(b"").label(column.name)
            for column in schema.workflows.c
        ]
        statement = select_page(select(*columns), fields.WORKFLOWS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, _workflow)

    # ----------------------------------------------------------------------------------------------- launch plans

    async def create_launch_plan(self, record: LaunchPlanRecord) -> None:
        """Raises AlreadyExists when the version has this structure already, InvalidArgument when it has another."""
        values = {
            **_named(record.id),
            **{f"workflow_{part}": value for part, value in _named(record.workflow).items()},
            "digest": record.digest,
            "spec": record.spec,
            "expected_inputs": record.expected_inputs,
            "expected_outputs": record.expected_outputs,
            "state": record.state,
            "created_at_us": record.created_at_us,
            "updated_at_us": record.updated_at_us,
        }
        await self._create(Kind.LAUNCH_PLAN, record.id, values)

    async def get_launch_plan(self, id: EntityId) -> LaunchPlanRecord:
        """Raises NotFound."""
        return rows.launch_plan_from(await self._get(Kind.LAUNCH_PLAN, id))

    async def get_active_launch_plan(self, project: str, domain: str, name: str) -> LaunchPlanRecord:
        """The version that is ACTIVE. Raises NotFound when none is."""
        table = schema.launch_plans
        statement = select(table).where(
            table.c.project == project, table.c.domain == domain, table.c.name == name, table.c.state == ACTIVE
        )
        async with reading(self._engine) as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound(f"launch plan {project}:{domain}:{name} has no active version")
        return rows.launch_plan_from(row)

    async def list_launch_plans(self, query: Query, *, active_only: bool = False) -> Page[LaunchPlanRecord]:
        """Versions of launch plans, newest first."""
        table = schema.launch_plans
        plans = select(table).where(table.c.state == ACTIVE) if active_only else select(table)
        statement = select_page(plans, fields.LAUNCH_PLANS, query)
        async with reading(self._engine) as connection:
            return page_of((await connection.execute(statement)).all(), query, rows.launch_plan_from)

    async def activate_launch_plan(self, id: EntityId, now_us: int) -> None:
        """Makes this version the active one and every other version of the name inactive. Raises NotFound."""
        await self._set_state(id, ACTIVE, now_us)

    async def deactivate_launch_plan(self, id: EntityId, now_us: int) -> None:
        """Makes this version inactive. Raises NotFound."""
        await self._set_state(id, INACTIVE, now_us)

    # ------------------------------------------------------------------------------------------------------ names

    async def list_ids(self, kind: Kind, query: Query) -> Page[NamedId]:
        """The names that have versions, in order of the alphabet."""
        table, entity = _ENTITIES[kind]
        names = select(table.c.project, table.c.domain, table.c.name).distinct()
        statement = select_page(names, fields.names_in(entity), query)
        async with reading(self._engine) as connection:
            found = (await connection.execute(statement)).all()
            return page_of(found, query, lambda row: NamedId(row.project, row.domain, row.name))

    # ------------------------------------------------------------------------------------------------------------

    async def _create(self, kind: Kind, id: EntityId, values: dict[str, Any]) -> None:
        table, _ = _ENTITIES[kind]
        async with writing(self._engine) as connection:
            if await _insert(connection, table, values):
                return
            found = await connection.scalar(select(table.c.digest).where(_is(table, id)))
        if found == values["digest"]:
            raise AlreadyExists(f"{kind.value} {id} exists already")
        raise InvalidArgument(f"id: {kind.value} {id} with a different structure already exists: use another version")

    async def _get(self, kind: Kind, id: EntityId) -> Row[Any]:
        table, _ = _ENTITIES[kind]
        async with reading(self._engine) as connection:
            row = (await connection.execute(select(table).where(_is(table, id)))).one_or_none()
        if row is None:
            raise NotFound(f"{kind.value} {id} is not registered")
        return row

    async def _set_state(self, id: EntityId, state: int, now_us: int) -> None:
        table = schema.launch_plans
        of_this_name = (table.c.project == id.project) & (table.c.domain == id.domain) & (table.c.name == id.name)
        changed = {"state": state, "updated_at_us": now_us}
        async with writing(self._engine) as connection:
            # All versions are locked in one order, so that two activations follow each other.
            versions = select(table.c.version).where(of_this_name).order_by(table.c.version).with_for_update()
            if id.version not in (await connection.scalars(versions)).all():
                raise NotFound(f"launch plan {id} is not registered")
            if state == ACTIVE:
                others = of_this_name & (table.c.state == ACTIVE) & (table.c.version != id.version)
                await connection.execute(update(table).where(others).values(state=INACTIVE, updated_at_us=now_us))
            await connection.execute(update(table).where(_is(table, id), table.c.state != state).values(changed))


async def _insert(connection: AsyncConnection, table: Table, values: dict[str, Any]) -> bool:
    """Whether the row is new; an existing one is left as it is."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
    return (await connection.execute(statement)).one_or_none() is not None


def _named(id: EntityId) -> dict[str, str]:
    return id._asdict()


def _is(table: Table, id: EntityId) -> ColumnElement[bool]:
    return (
        (table.c.project == id.project)
        & (table.c.domain == id.domain)
        & (table.c.name == id.name)
        & (table.c.version == id.version)
    )


def _id(row: Row[Any]) -> EntityId:
    return EntityId(row.project, row.domain, row.name, row.version)


def _project(row: Row[Any]) -> ProjectRecord:
    return ProjectRecord(row.id, row.name, row.description, row.labels, row.state, row.created_at_us)


def _task(row: Row[Any]) -> TaskRecord:
    return TaskRecord(_id(row), row.type, row.digest, row.spec, row.closure, row.created_at_us)


def _workflow(row: Row[Any]) -> WorkflowRecord:
    return WorkflowRecord(_id(row), row.digest, row.spec, row.closure, row.created_at_us)
