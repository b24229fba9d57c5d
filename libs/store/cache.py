"""The cache as operators see it: what is in it, and how to get rid of it.

Leaders fill it, in the commits that end the nodes whose outputs they keep (`ledger`). A node that has taken over its
outputs already keeps them, whatever is evicted.
"""

from __future__ import annotations

from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import cache_rows, schema
from libs.store.engine import reading, writing
from libs.store.lookup import is_below, is_of
from libs.store.records import CacheRecord
from libs.workflow.identity import ExecutionId

_BATCH = 1000
"""Entries that one transaction evicts: keeps the write lock of SQLite within milliseconds."""


class Cache:
    """The entries of the cache. Every method may also raise `Unavailable`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def entry(self, key: bytes) -> CacheRecord | None:
        """What is stored under a key."""
        columns = [schema.cache_entries.c[name] for name in cache_rows.CACHE_COLUMNS]
        async with reading(self._engine) as connection:
            found = await connection.execute(select(*columns).where(schema.cache_entries.c.key == key))
            row = found.one_or_none()
        return None if row is None else cache_rows.cache_from(row)

    async def evict(self, key: bytes) -> int:
        """Removes one entry; returns how many there were, as all of these do."""
        return await self._evict(_KEY.where(schema.cache_entries.c.key == key))

    async def evict_task(self, project: str, domain: str, name: str, version: str | None = None) -> int:
        """Removes what a task has stored, in one version or in all."""
        table = schema.cache_entries
        wanted = _KEY.where(table.c.task_project == project, table.c.task_domain == domain, table.c.task_name == name)
        return await self._evict(wanted if version is None else wanted.where(table.c.task_version == version))

    async def evict_node(self, execution: int | ExecutionId, node_id: str) -> int:
        """Removes what a node has stored or found, and with it what the nodes below it have."""
        within = (schema.nodes.c.node_id == node_id) | is_below(schema.nodes, node_id)
        return await self._evict(_KEY_OF_NODE.where(is_of(schema.nodes, execution), within))

    async def evict_execution(self, execution: int | ExecutionId) -> int:
        """Removes what the nodes of an execution have stored or found."""
        return await self._evict(_KEY_OF_NODE.where(is_of(schema.nodes, execution)))

    async def _evict(self, keys: Select[tuple[bytes]]) -> int:
        table = schema.cache_entries
        some = delete(table).where(table.c.key.in_(keys.limit(_BATCH)))
        count = 0
        while True:
            async with writing(self._engine) as connection:
                evicted = (await connection.execute(some)).rowcount
            count += evicted
            if evicted < _BATCH:
                return count


_KEY = select(schema.cache_entries.c.key)
_KEY_OF_NODE = (
    select(schema.cache_entries.c.key)
    .join_from(schema.nodes, schema.cache_entries, schema.nodes.c.cache_key == schema.cache_entries.c.key)
    .distinct()
)
