"""Submissions share commits: what arrives while one transaction syncs goes into the next one, all of it.

Every caller gets its own answer, and only when its row is durable. A row that the database refuses, or a name that is
taken, hurts nobody else in the batch.

An execution that has a parent is stored only while the parent is not about to end, and the parent can't begin to before
the child can be seen: when a leader decides the end of an execution, it finds all that was launched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.store import launches, schema
from libs.store.engine import writing
from libs.store.failures import translate
from libs.store.records import ExecutionRecord
from libs.workflow.errors import AlreadyExists, FailedPrecondition, Refused
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import ExecutionState

MAX_BATCH = 500
"""Submissions in one transaction: keeps the write lock of SQLite within milliseconds."""

_ENDING = {phase.value for phase in ExecutionPhase if phase.terminal} | {
    ExecutionPhase.FAILING.value,
    ExecutionPhase.ABORTING.value,
}

Tags = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Submission:
    record: ExecutionRecord
    tags: Tags
    answer: asyncio.Future[None]


class Submissions:
    """The one writer of new executions in this process. Its task exists only while there is something to write."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # Not bounded: each entry is a caller that waits for its answer, and the server bounds those.
        self._waiting: list[_Submission] = []
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, record: ExecutionRecord, tags: Tags) -> None:
        """Returns when the row is durable.

        A caller that is cancelled does not know the outcome: the row may still be written.
        """
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submission(record, tags, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), name="submissions")
        await answer

    async def close(self) -> None:
        """Waits until everything that was submitted has been answered."""
        if self._writer is not None:
            await self._writer

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
        finally:
            self._writer = None

    async def _write(self, batch: Sequence[_Submission]) -> None:
        try:
            answers = await self._insert(batch)
        except Refused as error:
            if len(batch) == 1:
                _answer(batch[0], error)
            else:  # each one alone, so that only the culprit is refused
                for submission in batch:
                    await self._write([submission])
        except BaseException as error:
            for submission in batch:
                _answer(submission, translate(error))
            if not isinstance(error, Exception):
                raise
        else:
            for submission, answer in zip(batch, answers, strict=True):
                _answer(submission, answer)

    async def _insert(self, batch: Sequence[_Submission]) -> list[Exception | None]:
        """One transaction; for each submission None or why it was not stored."""
        async with writing(self._engine) as connection:
            orphans = await _orphans(connection, [submission.record.execution for submission in batch])
            created = await _insert_new(
                connection, [each for each in batch if each.record.execution.key not in orphans]
            )
            tags = [
                dict(zip(launches.TAG_COLUMNS, row, strict=True))
                for submission in batch
                if submission.record.execution.key in created
                for row in launches.tag_rows(submission.record.execution.key, submission.tags)
            ]
            if tags:
                await connection.execute(insert(schema.execution_tags), tags)
            left = [submission.record for submission in batch if submission.record.execution.key not in created]
            taken = await _taken(connection, [record.execution.id for record in left]) if left else set()
        return [_verdict(submission.record, created, taken, orphans) for submission in batch]


async def _orphans(connection: AsyncConnection, executions: Sequence[ExecutionState]) -> set[int]:
    """Keys of those whose parent has ended or is about to. The other parents stay as they are until the commit."""
    parents = {each.parent_key for each in executions if each.parent_key is not None}
    if not parents:
        return set()
    table = schema.executions
    # In the order in which a leader's commit takes them, so that neither waits for the other.
    statement = select(table.c.key, table.c.desired, table.c.phase).where(table.c.key.in_(parents))
    found = await connection.execute(statement.order_by(table.c.key).with_for_update(read=True))
    ending = {row.key for row in found if row.desired == Desired.ABORT or row.phase in _ENDING}
    return {each.key for each in executions if each.parent_key in ending}


async def _insert_new(connection: AsyncConnection, batch: Sequence[_Submission]) -> set[int]:
    """Keys of the rows that were inserted: names and keys that exist are passed over."""
    if not batch:
        return set()
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(schema.executions).on_conflict_do_nothing().returning(schema.executions.c.key)
    # By name: two processes that insert the same names in different orders would wait for each other.
    values = [_values(submission.record) for submission in sorted(batch, key=lambda each: each.record.execution.id)]
    return set((await connection.execute(statement, values)).scalars())


async def _taken(connection: AsyncConnection, ids: Sequence[ExecutionId]) -> set[ExecutionId]:
    columns = (schema.executions.c.project, schema.executions.c.domain, schema.executions.c.name)
    found = await connection.execute(select(*columns).where(tuple_(*columns).in_(ids)))
    return {ExecutionId(*row) for row in found}


def _verdict(
    record: ExecutionRecord, created: set[int], taken: set[ExecutionId], orphans: set[int]
) -> Exception | None:
    execution = record.execution
    if execution.key in created:
        return None
    if execution.key in orphans:
        return FailedPrecondition("the parent execution has ended or is ending: it launches nothing more")
    if execution.id in taken:
        return AlreadyExists(f"execution {execution.id} exists already")
    return Refused(f"execution key {execution.key} is taken: mint another")


def _answer(submission: _Submission, error: BaseException | None) -> None:
    if submission.answer.done():  # the caller has gone
        return
    if error is None:
        submission.answer.set_result(None)
    else:
        submission.answer.set_exception(error)


def _values(record: ExecutionRecord) -> dict[str, Any]:
    row = launches.row(record.execution, record.resource_type, record.mode, record.state)
    return dict(zip(launches.COLUMNS, row, strict=True))
