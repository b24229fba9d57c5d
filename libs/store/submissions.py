"""Submissions share commits: what arrives while one transaction syncs goes into the next one, all of it.

Every caller gets its own answer, and only when its row is durable. A row that the database refuses, or a name that is
taken, hurts nobody else in the batch.

An execution that has a parent is stored only while the parent is not about to end, and the parent can't begin to before
the child can be seen: when a leader decides the end of an execution, it finds all that was launched.

An execution that recovers another one, or whose inputs name files of it, holds it in the same transaction (`holds`).

A batch is written over a connection of its own, in a thread: one hand-over to the thread and back, however many
statements it takes. With PostgreSQL, where one statement is enough, the event loop sends it itself (`postgres_loop`);
with SQLite a submission that comes alone is written on the spot (`at_once`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import URL

from libs.store import address, launches
from libs.store.failures import translate, translated
from libs.store.lookup import collected
from libs.store.records import ExecutionRecord
from libs.store.rows import Row
from libs.store.submission_rows import KEY, PARENT, Batch, Door, Stored, Wish, id_of
from libs.store.submission_sqlite import SqliteDoor
from libs.workflow.errors import AlreadyExists, FailedPrecondition, NotFound, Refused

MAX_BATCH = 500
"""Submissions in one transaction: keeps the write lock of SQLite within milliseconds."""

QUIET_SECONDS = 0.001
"""Submissions that come more slowly than that are no burst."""

Tags = Sequence[tuple[str, str]]

Answer = TypeVar("Answer", Stored, Stored | None)

Verdict = Exception | None
"""None for what has been stored."""


class _Submission(NamedTuple):
    row: Row
    tags: Sequence[Row]
    wish: Wish | None


class _Group(NamedTuple):
    """What one caller has submitted."""

    submissions: Sequence[_Submission]
    answer: asyncio.Future[Sequence[Verdict]]


class Submissions:
    """The one writer of new executions in this process. Its task exists only while there is something to write."""

    def __init__(self, url: URL) -> None:
        self._door = _door(url)
        # Not bounded: each entry is a caller that waits for its answer, and the server bounds those.
        self._waiting: deque[_Group] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._ended = float("-inf")
        """When the last transaction had ended."""
        self.transactions = 0
        """How many there have been."""

    async def submit(self, records: Sequence[tuple[ExecutionRecord, Tags]]) -> Sequence[Verdict]:
        """Returns when what can be stored is durable, and what has become of each.

        Raises Unavailable, or what else kept the database from answering; then the outcome is unknown, as it is to a
        caller that is cancelled: rows may still be written.
        """
        submissions = [_submission(record, tags) for record, tags in records]
        return [
            verdict
            for first in range(0, len(submissions), MAX_BATCH)
            for verdict in await self._store(submissions[first : first + MAX_BATCH])
        ]

    async def close(self) -> None:
        """Waits until everything that was submitted has been answered."""
        if self._writer is not None:
            await self._writer
        self._door.close()

    async def _store(self, submissions: Sequence[_Submission]) -> Sequence[Verdict]:
        if len(submissions) == 1 and self._writer is None and self._is_quiet():
            verdict = self._at_once(submissions)
            if verdict is not None:
                return verdict
        answer: asyncio.Future[Sequence[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Group(submissions, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), name="submissions")
        return await answer

    def _at_once(self, submissions: Sequence[_Submission]) -> Sequence[Verdict] | None:
        """What has become of a lone one; None when it cannot be stored on the spot."""
        batch = _batch(submissions)
        try:
            stored = self._transact(self._door.store_at_once, batch) if batch.small else None
        except Refused as error:
            return [error]
        return None if stored is None else self._verdicts_of(submissions, stored)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write(self._next())
        finally:
            self._writer = None

    def _next(self) -> Sequence[_Group]:
        """As many as one transaction may hold, but one at least."""
        groups = [self._waiting.popleft()]
        rows = len(groups[0].submissions)
        while self._waiting and rows + len(self._waiting[0].submissions) <= MAX_BATCH:
            groups.append(self._waiting.popleft())
            rows += len(groups[-1].submissions)
        return groups

    async def _write(self, groups: Sequence[_Group]) -> None:
        submissions = [each for group in groups for each in group.submissions]
        try:
            verdicts = await self._verdicts(submissions)
        except BaseException as error:
            for group in groups:
                if not group.answer.done():  # else the caller has gone
                    group.answer.set_exception(translate(error))
            if not isinstance(error, Exception):
                raise
            return
        first = 0
        for group in groups:
            last = first + len(group.submissions)
            if not group.answer.done():
                group.answer.set_result(verdicts[first:last])
            first = last

    async def _verdicts(self, submissions: Sequence[_Submission]) -> list[Verdict]:
        """Stores them. One that the database refuses makes that each is stored alone, so that nobody else is hurt."""
        batch = _batch(submissions)
        try:
            with translated():
                stored = await self._door.store_on_loop(batch)
            if stored is None:
                stored = await asyncio.to_thread(self._transact, self._door.store, batch)
        except Refused as error:
            if len(submissions) == 1:
                return [error]
            return [verdict for each in submissions for verdict in await self._verdicts([each])]
        return self._verdicts_of(submissions, stored)

    def _verdicts_of(self, submissions: Sequence[_Submission], stored: Stored) -> list[Verdict]:
        self.transactions += 1
        self._ended = time.monotonic()
        return [_verdict(each.row, stored) for each in submissions]

    def _is_quiet(self) -> bool:
        """Whether the last transaction was long ago. In a burst, many gather while one is written in a thread."""
        return time.monotonic() - self._ended > QUIET_SECONDS

    def _transact(self, store: Callable[[Batch], Answer], batch: Batch) -> Answer:
        """Runs in a thread, unless `store` needs none."""
        try:
            return store(batch)
        except BaseException as error:
            refused = translate(error)
            if not isinstance(refused, Refused):  # which says nothing about the connection
                self._door.drop()
            raise refused from error


def _batch(submissions: Sequence[_Submission]) -> Batch:
    return Batch(
        [each.row for each in submissions],
        [tag for each in submissions for tag in each.tags],
        frozenset(each.row[PARENT] for each in submissions if each.row[PARENT] is not None),
        [each.wish for each in submissions if each.wish is not None],
    )


def _door(url: URL) -> Door:
    where = address.parse(url.render_as_string(hide_password=False))
    if isinstance(where, address.Sqlite):
        return SqliteDoor(where.path)
    from libs.store.submission_postgres import PostgresDoor  # only who needs the driver pays for its import

    return PostgresDoor(where.for_libpq)


def _submission(record: ExecutionRecord, tags: Tags) -> _Submission:
    execution = record.execution
    row = launches.row(execution, record.resource_type, record.mode, record.state)
    wish = None
    if record.names or execution.recovers_key is not None:
        wish = Wish(execution.key, execution.parent_key, execution.recovers_key, record.names)
    return _Submission(row, launches.tag_rows(execution.key, tags) if tags else (), wish)


def _verdict(row: Row, stored: Stored) -> Verdict:
    key = row[KEY]
    if key in stored.created:
        return None
    if key in stored.orphans:
        return FailedPrecondition("the parent execution has ended or is ending: it launches nothing more")
    if key in stored.gone:
        return NotFound("the execution to be recovered has been collected: its results are gone")
    id = id_of(row)
    if id in stored.taken:
        at_us = stored.taken[id]
        if at_us is None:
            return AlreadyExists(f"execution {id} exists already")
        return AlreadyExists(f"{collected(id, at_us)}; its name stays taken")
    return Refused(f"execution key {key} is taken: mint another")
