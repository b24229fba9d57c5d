"""Intakes as they are defined, and how many of their executions are not final yet.

What they have done so far is not here: it changes with every item, and Redis knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import schema
from libs.store.engine import reading, writing
from libs.workflow import intake
from libs.workflow.errors import AlreadyExists, NotFound, Refused
from libs.workflow.identity import EntityId
from libs.workflow.intake import Intake, IntakeId


class Intakes:
    """The definitions. Every method may also raise `Unavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, definition: Intake) -> None:
        """Stores a definition. Raises AlreadyExists when there is one of that name."""
        try:
            async with writing(self._engine) as connection:
                taken = await connection.execute(select(_TABLE.c.name).where(_is(definition.id)))
                if taken.one_or_none() is not None:
                    raise _taken(definition.id)
                await connection.execute(insert(_TABLE).values(_row(definition)))
        except Refused as error:
            if await self._exists(definition.id):  # another call was first
                raise _taken(definition.id) from error
            raise

    async def get(self, id: IntakeId) -> Intake:
        """Raises NotFound."""
        async with reading(self._engine) as connection:
            row = (await connection.execute(_INTAKE.where(_is(id)))).one_or_none()
        if row is None:
            raise _unknown(id)
        return _intake(row)

    async def list(self, project: str = "", domain: str = "") -> Sequence[Intake]:
        """Those of a project and domain, or (empty) of all, by name."""
        wanted = _INTAKE.order_by(_TABLE.c.project, _TABLE.c.domain, _TABLE.c.name)
        if project:
            wanted = wanted.where(_TABLE.c.project == project)
        if domain:
            wanted = wanted.where(_TABLE.c.domain == domain)
        async with reading(self._engine) as connection:
            return [_intake(row) for row in await connection.execute(wanted)]

    async def pause(self, id: IntakeId, paused: bool) -> None:
        """Pauses or resumes. Raises NotFound."""
        async with writing(self._engine) as connection:
            changed = await connection.execute(update(_TABLE).where(_is(id)).values(paused=paused))
        if not changed.rowcount:
            raise _unknown(id)

    async def remove(self, id: IntakeId) -> None:
        """Raises NotFound."""
        async with writing(self._engine) as connection:
            removed = await connection.execute(delete(_TABLE).where(_is(id)))
        if not removed.rowcount:
            raise _unknown(id)

    async def pending(self, id: IntakeId) -> int:
        """How many of its executions are not final yet. Costs what all that are live cost, however many have ended."""
        executions, tags = schema.executions, schema.execution_tags
        tagged = exists().where(
            tags.c.execution_key == executions.c.key, tags.c.key == intake.tag(id), tags.c.value == ""
        )
        count = (
            select(func.count())
            .select_from(executions)
            .where(
                executions.c.project == id.project, executions.c.domain == id.domain, schema.live(executions), tagged
            )
        )
        async with reading(self._engine) as connection:
            return int(await connection.scalar(count) or 0)

    async def _exists(self, id: IntakeId) -> bool:
        async with reading(self._engine) as connection:
            return (await connection.execute(select(_TABLE.c.name).where(_is(id)))).one_or_none() is not None


_TABLE = schema.intakes
_INTAKE = select(*_TABLE.c)


def _is(id: IntakeId) -> ColumnElement[bool]:
    return (_TABLE.c.project == id.project) & (_TABLE.c.domain == id.domain) & (_TABLE.c.name == id.name)


def _row(definition: Intake) -> dict[str, Any]:
    return {
        **definition.id._asdict(),
        **{f"launch_plan_{part}": value for part, value in definition.launch_plan._asdict().items()},
        "source": definition.source,
        "kind": definition.kind.value,
        "codec": definition.codec.value,
        "field": definition.field,
        "id_field": definition.id_field,
        "pending_limit": definition.limit,
        "tries": definition.tries,
        "paused": definition.paused,
        "created_at_us": definition.created_at_us,
    }


def _intake(row: Row[Any]) -> Intake:
    return Intake(
        id=IntakeId(row.project, row.domain, row.name),
        source=row.source,
        kind=intake.Kind(row.kind),
        codec=intake.Codec(row.codec),
        launch_plan=EntityId(
            row.launch_plan_project, row.launch_plan_domain, row.launch_plan_name, row.launch_plan_version
        ),
        field=row.field,
        id_field=row.id_field,
        limit=row.pending_limit,
        tries=row.tries,
        paused=row.paused,
        created_at_us=row.created_at_us,
    )


def _taken(id: IntakeId) -> AlreadyExists:
    return AlreadyExists(f"there is an intake {id} already, and it is another one: remove it first, or choose a name")


def _unknown(id: IntakeId) -> NotFound:
    return NotFound(f"there is no intake {id}")
