"""Telling clients what has changed, from SQL, woken by hints.

A watcher gets the present state first and then every later one that it has not seen, at its own pace: states that
follow each other faster than it reads are skipped, the last one never is. It compares what it reads with what it sent,
so hints need not be exact. The execution is read before its nodes: when it is seen final, its nodes are read as final,
because the leader commits both at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from libs.runtime.clock import Clock
from libs.store.executions import Executions
from libs.store.query import Query
from libs.store.records import ExecutionRecord
from libs.workflow.identity import ExecutionId
from libs.workflow.state import NodeState
from services.admin import paging
from services.admin.hints import Hints

PACE_SECONDS = 0.1
"""Least time between two looks of one watcher, unless something has ended. A busy execution commits hundreds of times a
second; nobody reads so."""

WHOLE_SECONDS = 10.0
"""How often one who watches many executions looks for all that has changed, besides what it was told of: for hints that
got lost while others came."""

_KEYS = 500
"""Executions that are read in one query."""

OVERLAP_US = 10_000_000
"""How far back "changed since" reaches: times come from several clocks, and a commit is seen later than its time."""

_PAGE = 1_000
"""Rows of one query. A look reads as many pages as there are."""

Key = TypeVar("Key")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed since the last one of this stream."""

    id: ExecutionId
    execution: ExecutionRecord | None
    """None when only nodes have changed."""
    nodes: Sequence[NodeState]


class Watch:
    """Streams of changes."""

    def __init__(self, executions: Executions, hints: Hints, clock: Clock) -> None:
        self._executions = executions
        self._hints = hints
        self._clock = clock

    async def execution(self, id: ExecutionId, *, nodes: bool) -> AsyncIterator[Change]:
        """One execution, with its nodes if asked for, until it is final. Raises `NotFound` when it does not exist."""
        key = (await self._executions.get(id)).execution.key
        sent: ExecutionRecord | None = None
        seen: _Seen[str, NodeState] = _Seen(newest_us=0)
        with self._hints.bell(key) as bell:
            while True:
                record = await self._executions.get(id)
                changed = await self._changed_nodes(key, seen) if nodes else []
                if record != sent or changed:
                    yield Change(id, record if record != sent else None, changed)
                    sent = record
                if record.execution.phase.terminal:
                    return
                await bell.wait(pace_seconds=PACE_SECONDS)

    async def executions(self, query: Query) -> AsyncIterator[Sequence[ExecutionRecord]]:
        """The executions that `query` asks for, as they change from now on. Does not end by itself.

        The first answer is empty: it tells that from now on nothing is missed.
        """
        seen: _Seen[int, ExecutionRecord] = _Seen(self._clock.now_us())
        with self._hints.bell() as bell:
            await self._changed_executions(query, seen)  # what is there already is no news
            looked = self._clock.monotonic()
            yield ()
            while True:
                await bell.wait(pace_seconds=PACE_SECONDS)
                keys = bell.taken()
                if not keys or self._clock.monotonic() - looked >= WHOLE_SECONDS:
                    changed = await self._changed_executions(query, seen)
                    looked = self._clock.monotonic()
                else:
                    changed = await self._told_of(query, sorted(keys), seen)
                if changed:
                    yield changed

    async def _told_of(
        self, query: Query, keys: Sequence[int], seen: _Seen[int, ExecutionRecord]
    ) -> list[ExecutionRecord]:
        found: list[ExecutionRecord] = []
        for first in range(0, len(keys), _KEYS):
            some = keys[first : first + _KEYS]
            if query.filters:
                found += await self._executions.list_of(query, some)
            else:
                found += (each for each in await self._executions.get_by_key(some) if _is_in(query, each))
        return seen.news((record.execution.key, record.execution.updated_at_us, record) for record in found)

    async def _changed_nodes(self, key: int, seen: _Seen[str, NodeState]) -> list[NodeState]:
        asked = _changed_since(Query(), seen.since_us)
        found = [node async for node in paging.every(lambda query: self._executions.list_nodes(query, key), asked)]
        changed = seen.news((node.id, node.updated_at_us or 0, node) for node in found)
        seen.forget()
        return changed

    async def _changed_executions(self, query: Query, seen: _Seen[int, ExecutionRecord]) -> list[ExecutionRecord]:
        asked = _changed_since(query, seen.since_us)
        found = [record async for record in paging.every(self._executions.list, asked)]
        changed = seen.news((record.execution.key, record.execution.updated_at_us, record) for record in found)
        seen.forget()
        return changed


class _Seen(Generic[Key, Item]):
    """What one watcher has got of late, so that looking back a little finds only news."""

    def __init__(self, newest_us: int) -> None:
        self._newest_us = newest_us
        self._sent: dict[Key, tuple[int, Item]] = {}

    @property
    def since_us(self) -> int:
        """From when on the next look must read."""
        return max(0, self._newest_us - OVERLAP_US)

    def news(self, found: Iterable[tuple[Key, int, Item]]) -> list[Item]:
        """Those of the found (key, time of change, item) that are not as they were sent; they are sent now."""
        changed = [(key, at_us, item) for key, at_us, item in found if self._sent.get(key, (0, None))[1] != item]
        self._newest_us = max([self._newest_us, *(at_us for _, at_us, _ in changed)])
        self._sent.update((key, (at_us, item)) for key, at_us, item in changed)
        return [item for _, _, item in changed]

    def forget(self) -> None:
        """What is older than the next look reaches will not be found again."""
        self._sent = {key: sent for key, sent in self._sent.items() if sent[0] >= self.since_us}


def _is_in(query: Query, record: ExecutionRecord) -> bool:
    id = record.execution.id
    return id.project == query.project and id.domain == query.domain


def _changed_since(query: Query, since_us: int) -> Query:
    """The query, narrowed to what has changed since then.

    In order of creation, not of change: while the pages are read, rows may join the list but do not move in it, so none
    is skipped.
    """
    filters = query.filters
    if since_us:
        time = datetime.fromtimestamp(since_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        filters = "+".join(filter(None, (filters, f"gte(updated_at,{time})")))
    return replace(query, filters=filters, sort_key="created_at", descending=False, limit=_PAGE)
