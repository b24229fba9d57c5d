"""Looking into the cache and evicting, on both databases."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.store import cache as caches
from libs.store.cache import Cache
from libs.store.ledger import Ledger
from libs.store.records import CacheRecord
from libs.workflow.identity import ExecutionId
from libs.workflow.state import Changes, Data
from tests.support import stored


@pytest.fixture
def cache(engine: AsyncEngine) -> Cache:
    return Cache(engine)


def key(number: int) -> bytes:
    return number.to_bytes(32)


async def left(cache: Cache, count: int) -> Sequence[int]:
    """Which of the first keys are in the cache."""
    return [number for number in range(count) if await cache.entry(key(number)) is not None]


async def test_an_entry_tells_what_it_holds_and_who_made_it(cache: Cache, ledger: Ledger) -> None:
    entry = stored.entry(key(1), outputs=Data.at("s3://b/o", 1 << 40), node_id="n7", attempt=3)
    ledger.commit(0, 1, [Changes(stored.execution(5), cached=[entry])])
    assert await cache.entry(key(1)) == CacheRecord(entry, execution_key=5)
    assert await cache.entry(key(2)) is None


async def test_an_entry_is_evicted_by_its_key(cache: Cache, ledger: Ledger) -> None:
    ledger.commit(0, 1, [Changes(stored.execution(5), cached=[stored.entry(key(0)), stored.entry(key(1))])])
    assert await cache.evict(key(0)) == 1
    assert await cache.evict(key(0)) == 0
    assert await left(cache, 2) == [1]


async def test_a_task_is_evicted_in_one_version_or_in_all(
    cache: Cache, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "_BATCH", 2)
    other = stored.TASK._replace(name="shop.other")
    second = stored.replace_version(stored.TASK, "v2")
    tasks = [stored.TASK, second, other, stored.TASK, stored.TASK, stored.TASK]
    entries = [stored.entry(key(number), task=task) for number, task in enumerate(tasks)]
    ledger.commit(0, 1, [Changes(stored.execution(5), cached=entries)])
    named = (stored.TASK.project, stored.TASK.domain, stored.TASK.name)
    assert await cache.evict_task(*named, "v2") == 1
    assert await left(cache, 6) == [0, 2, 3, 4, 5]
    assert await cache.evict_task(*named) == 4
    assert await left(cache, 6) == [2]


async def test_an_execution_or_a_node_is_evicted_with_all_that_it_stored_or_found(
    database_url: str, cache: Cache, ledger: Ledger
) -> None:
    record = stored.record(1)
    await stored.submit(database_url, record)
    ids = ["n0", "n1", "n1-0-n0", "n10", "n2"]
    turn = stored.with_nodes(
        record.execution, *(stored.node(id, cache_key=key(number)) for number, id in enumerate(ids))
    )
    turn.cached.extend(stored.entry(key(number)) for number in range(6))
    ledger.commit(0, 1, [turn])
    assert await cache.evict_node(record.execution.id, "n1") == 2
    assert await left(cache, 6) == [0, 3, 4, 5]
    assert await cache.evict_execution(ExecutionId("p", "d", "nobody")) == 0
    assert await cache.evict_execution(1) == 3
    assert await left(cache, 6) == [5]
