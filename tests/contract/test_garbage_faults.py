"""What the garbage collector does when its leader, a blob store or its own process fails, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libs import blob
from libs.store.engine import open_async
from libs.store.garbage import Garbage
from libs.workflow.errors import Fenced, Unavailable
from tests.support.garbage import PROJECT, TABLES, Counting, Yard


async def test_who_leads_no_more_removes_nothing(yard: Yard) -> None:
    old = await yard.add("old", 40)
    before = yard.collector()
    yard.take_over()
    with pytest.raises(Fenced):
        await before.collect()
    await yard.require_only([old])
    assert await yard.count("garbage") == 0
    # Even what is condemned is left to the successor.
    store = Garbage(yard.url)
    store.mark(0, yard.epoch, [old.key], 1)
    store.condemn(0, yard.epoch, [old.key], 2)
    for work in (store.hide, store.erase, store.bury, store.release, store.close_cases):
        with pytest.raises(Fenced):
            work(0, yard.epoch - 1, [old.key], *([3] if work in (store.hide, store.erase, store.release) else []))
    store.close()
    with pytest.raises(Fenced):
        await before.collect()
    with pytest.raises(Fenced):
        await yard.collector(leading=lambda: False).collect()
    assert await yard.places() == {f"{PROJECT}-development-old"}
    await yard.collector().collect()
    await yard.require_only([])


class Crash(Exception):
    """The process dies."""


class Dying(Garbage):
    """Dies before or after its nth transaction."""

    def __init__(self, url: str, left: int, after: bool) -> None:
        super().__init__(url)
        self.left = left
        self.after = after

    def _fenced(self, shard: int, epoch: int) -> Any:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Crash
        whole = super()._fenced(shard, epoch)
        if self.left >= 0 or not self.after:
            return whole
        return _then_dies(whole)


class _then_dies:
    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __enter__(self) -> Any:
        return self._whole.__enter__()

    def __exit__(self, *failure: Any) -> None:
        self._whole.__exit__(*failure)
        raise Crash


@pytest.mark.parametrize("after", [False, True], ids=["before-the-commit", "after-the-commit"])
async def test_whatever_step_a_leader_dies_at_the_next_one_finishes(yard: Yard, after: bool) -> None:
    kept = await yard.add("kept", None)
    step = 0
    while True:
        await yard.add(f"root{step}", 40, caches=bytes([step]) * 32, launches={f"child{step}": 40})
        await yard.add(f"user{step}", 40, recovers=yard.known[f"child{step}"])
        died = False
        try:
            await yard.collector(open_garbage=lambda: Dying(yard.url, step, after), rows=8).collect()  # noqa: B023
        except Crash:
            died = True
        yard.take_over()
        await yard.collector(rows=4).collect()
        await yard.require_only([kept], TABLES[:-1])
        assert [await yard.count(table) for table in ("garbage", "holds", "cache_entries")] == [0, 0, 0]
        if not died:
            break
        step += 1
    assert step > 8  # so many steps there were to die at


async def test_a_blob_store_that_is_away_is_waited_for_and_then_gone_on_with(yard: Yard) -> None:
    await yard.add("old", 40)
    collector = yard.collector()
    real = yard.blobs.delete_prefix
    calls = 0

    async def away(uri: str) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unavailable("the store is away")
        return await real(uri)

    yard.blobs.delete_prefix = away  # type: ignore[method-assign]
    done = await collector.collect()
    assert (done.executions, done.trouble) == (0, "the store is away")
    assert await yard.names() == set() and await yard.count("nodes") == 1  # its rows say what is still to be deleted
    assert (await collector.collect()).executions == 1
    await yard.require_only([])
    assert (yard.totals.failures, yard.totals.passes, yard.totals.executions) == (1, 2, 1)


async def test_however_much_there_is_no_transaction_is_larger_than_it_may_be(sqlite_url: str, tmp_path: Path) -> None:
    engine = open_async(sqlite_url)
    yard = await Yard(sqlite_url, engine, blob.open(str(tmp_path / "blobs"))).open(PROJECT)
    await yard.add_many(700, 40)
    await yard.add_many(1, 40, nodes=300)
    counting = Counting(yard.url)
    done = await yard.collector(rows=50, open_garbage=lambda: counting).collect()
    assert (done.executions, done.rows) == (701, 4 * (700 + 300))
    assert max(counting.rows) == 50
    assert await yard.names() == set()
    await yard.close()
    await engine.dispose()
