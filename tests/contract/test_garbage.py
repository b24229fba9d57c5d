"""What the garbage collector removes, and what it never does, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.blob import BlobStore, layout
from libs.store.garbage import Garbage
from libs.store.query import Query
from libs.workflow.errors import AlreadyExists, NotFound
from services.propeller.garbage.retention import DAY_US, Retention
from tests.support.garbage import PROJECT, TABLES, Yard

KEY = b"k" * 32


async def test_what_ended_long_ago_goes_whole_and_nothing_else_does(yard: Yard) -> None:
    await yard.add("old", 31)
    recent = await yard.add("recent", 29)
    live = await yard.add("live", None)
    done = await yard.collector().collect()
    await yard.require_only([recent, live])
    assert (done.marked, done.executions, done.rows, done.usage.blobs, done.usage.bytes) == (1, 1, 5, 3, 30)
    assert (await yard.collector().collect()).executions == 0


async def test_a_name_stays_taken_for_ever_and_reads_say_why_there_is_nothing(yard: Yard) -> None:
    old = await yard.add("old", 31)
    await yard.collector().collect()
    with pytest.raises(
        AlreadyExists, match=r"flytesnacks:development:old was removed by the garbage collector on 1972-"
    ):
        await yard.begin("old")
    for read in (yard.executions.get(old.id), yard.executions.request_abort(old.id, "why", "anna")):
        with pytest.raises(
            NotFound, match=r"flytesnacks:development:old was removed by the garbage collector on 1972-"
        ):
            await read
    assert not (await yard.executions.list(Query(project=PROJECT, domain="development"))).items
    assert not await yard.executions.get_by_key([old.key])
    (snapshot,) = yard.ledger.load(0, [old.key])
    assert snapshot.execution.phase.terminal and not snapshot.execution.spec and not snapshot.nodes


async def test_without_a_retention_everything_is_kept(yard: Yard) -> None:
    kept = [await yard.add(f"e{days}", days) for days in (1, 100, 900)]
    assert (await yard.collector(Retention()).collect()).marked == 0
    await yard.require_only(kept)


async def test_projects_have_limits_of_their_own(yard: Yard) -> None:
    kept = [
        await yard.add("mine", 6),
        await yard.add("theirs", 90, project="other"),
    ]
    await yard.add("mine-old", 8)
    await yard.collector(Retention(days={"*": 30, PROJECT: 7, "other": None})).collect()
    await yard.require_only(kept)


async def test_of_very_many_the_last_ones_are_kept_whatever_their_age(yard: Yard) -> None:
    kept = [await yard.add(f"e{days}", days, launches={f"child{days}": 7}) for days in (1, 3, 5)]
    for days in (7, 9):
        await yard.add(f"e{days}", days)
    child = yard.known["child1"]
    await yard.collector(Retention(executions={PROJECT: 3})).collect()
    await yard.require_only([*kept, child, yard.known["child3"], yard.known["child5"]])
    await yard.collector(Retention(executions={PROJECT: 3}, days={PROJECT: 2})).collect()
    await yard.require_only([kept[0], child])


async def test_what_is_marked_is_left_alone_until_the_delay_is_over(yard: Yard) -> None:
    old = await yard.add("old", 31)
    collector = yard.collector(delay_days=1)
    assert (await collector.collect()).marked == 1
    yard.clock.us += DAY_US - 1
    assert (await collector.collect()).executions == 0
    await yard.require_only([old])
    yard.clock.us += 1
    assert (await collector.collect()).executions == 1
    await yard.require_only([])
    assert await yard.count("garbage") == 0


async def test_what_somebody_needs_after_all_is_kept_and_no_longer_marked(yard: Yard) -> None:
    old = await yard.add("old", 31)
    source = await yard.add("source", 31)
    collector = yard.collector(delay_days=1)
    await collector.collect()
    recovering = await yard.begin("recovering", recovers=source)
    yard.run(recovering, None)
    await yard.write_blobs(recovering)
    yard.clock.us += DAY_US
    await yard.collector(Retention(days={"*": 90}), delay_days=1).collect()
    assert await yard.count("garbage") == 0
    await yard.require_only([old, source, recovering])
    await collector.collect()
    yard.clock.us += DAY_US
    assert (await collector.collect()).executions == 1
    await yard.require_only([source, recovering])


# ------------------------------------------------------------------------------------------------------------ families


async def test_what_an_execution_has_launched_goes_with_it_and_never_before(yard: Yard) -> None:
    root = await yard.begin("root")
    await yard.add("child", 40, parent=root, launches={"grandchild": 40})
    yard.run(root, 10)
    await yard.write_blobs(root)
    family = [yard.known[name] for name in ("root", "child", "grandchild")]
    await yard.collector().collect()
    await yard.require_only(family)
    yard.clock.us += 25 * DAY_US
    done = await yard.collector().collect()
    assert (done.marked, done.executions) == (1, 3)
    await yard.require_only([])


async def test_an_execution_stays_as_long_as_something_below_it_lives(yard: Yard) -> None:
    await yard.add("root", 40)
    running = await yard.begin("running")
    late = await yard.begin("late", parent=running)
    yard.run(late, None)
    yard.run(running, 40)
    for state in (running, late):
        await yard.write_blobs(state)
    await yard.collector().collect()
    await yard.require_only([running, late])
    yard.end(late, 0)
    await yard.collector().collect()
    await yard.require_only([])


# ---------------------------------------------------------------------------------------------------------- references


async def test_what_is_recovered_is_kept_as_long_as_what_recovers_it(yard: Yard) -> None:
    source = await yard.add("source", 60)
    await yard.add("unrelated", 60)
    recovering = await yard.add("recovering", 10, recovers=source)
    await yard.collector().collect()
    await yard.require_only([source, recovering])
    yard.clock.us += 25 * DAY_US
    assert (await yard.collector().collect()).executions == 2
    assert await yard.count("holds") == 0


async def test_what_inputs_name_is_kept_with_all_of_its_family(yard: Yard) -> None:
    root = await yard.add("root", 60, launches={"child": 60})
    child = yard.known["child"]
    user = await yard.add("user", None, names=[child])
    await yard.collector().collect()
    await yard.require_only([root, child, user])


async def test_an_execution_that_is_collected_can_no_longer_be_recovered(yard: Yard) -> None:
    source = await yard.add("source", 60)
    await yard.collector().collect()
    with pytest.raises(NotFound, match="collected"):
        await yard.begin("recovering", recovers=source)
    assert await yard.names() == set()
    assert (await yard.begin("naming", names=[source])).id.name in await yard.names()
    assert await yard.count("holds") == 0


async def test_cached_outputs_keep_their_execution_until_nobody_has_used_them_for_long(yard: Yard) -> None:
    source = await yard.add("source", 60, caches=KEY)
    retention = Retention(days={"*": 30}, cache_days={"*": 90})
    await yard.collector(retention).collect()
    await yard.require_only([source], TABLES)
    yard.clock.us += 29 * DAY_US
    user = await yard.begin("user")
    assert yard.hit(user, KEY)
    yard.run(user, None)
    await yard.write_blobs(user)
    yard.clock.us += 89 * DAY_US
    await yard.collector(retention).collect()
    assert await yard.count("cache_entries") == 1
    yard.clock.us += 2 * DAY_US
    assert (await yard.collector(retention).collect()).entries == 1
    # The entry has gone; who has taken it over still needs what it leads to.
    await yard.require_only([source, user])
    yard.end(user, -119)
    yard.clock.us += 31 * DAY_US
    assert (await yard.collector(retention).collect()).executions == 2
    await yard.require_only([])


async def test_cached_outputs_are_kept_as_long_as_executions_where_nothing_else_is_said(yard: Yard) -> None:
    await yard.add("source", 31, caches=KEY)
    done = await yard.collector().collect()
    assert (done.entries, done.executions) == (1, 1)
    other = await yard.add("used", 31, caches=b"u" * 32)
    assert (await yard.collector(Retention(executions={"*": 1})).collect()).entries == 0
    assert other.id.name in await yard.names()


async def test_who_looks_into_the_cache_finds_nothing_of_what_is_condemned(yard: Yard) -> None:
    source = await yard.add("source", 60, caches=KEY)
    user = await yard.begin("user")
    store = Garbage(yard.url)
    store.mark(0, yard.epoch, [source.key], 1)
    assert store.condemn(0, yard.epoch, [source.key], 2) == {source.key}
    assert not yard.hit(user, KEY)
    assert await yard.count("holds") == 0
    store.close()


async def test_who_finds_something_holds_it_before_it_is_told(yard: Yard) -> None:
    source = await yard.add("source", 60, caches=KEY)
    user = await yard.begin("user")
    store = Garbage(yard.url)
    store.mark(0, yard.epoch, [source.key], 1)
    assert yard.hit(user, KEY)
    assert store.condemn(0, yard.epoch, [source.key], 2) == set()
    assert yard.hit(user, KEY)
    assert await yard.count("holds") == 1
    store.close()


async def test_two_that_need_each_other_go_together(yard: Yard) -> None:
    first = await yard.begin("first")
    second = await yard.begin("second")
    for state, key in ((first, b"1" * 32), (second, b"2" * 32)):
        yard.run(state, 40, caches=key)
        await yard.write_blobs(state)
    third = await yard.begin("third")
    yard.run(third, None)
    assert yard.hit(first, b"2" * 32) and yard.hit(second, b"1" * 32) and yard.hit(third, b"1" * 32)
    await yard.collector().collect()
    assert await yard.names() == {"first", "second", "third"}
    yard.end(third, 0)
    yard.clock.us += 31 * DAY_US
    assert (await yard.collector().collect()).executions == 3
    assert await yard.count("holds") == 0


async def test_what_a_chain_of_executions_needs_goes_in_one_pass(yard: Yard) -> None:
    states = [await yard.add("e0", 90)]
    for number in range(1, 8):
        states.append(await yard.add(f"e{number}", 90 - number, recovers=states[-1]))
    last = await yard.add("last", 10, recovers=states[-1])
    await yard.collector(rows=4).collect()
    await yard.require_only([*states, last])
    yard.clock.us += 25 * DAY_US
    collector = yard.collector(rows=40)
    assert (await collector.collect()).executions == 9


# --------------------------------------------------------------------------------------------------------- whose blobs


async def test_a_place_of_the_submitters_own_is_never_touched(yard: Yard) -> None:
    root = yard.blobs.root
    inside = await yard.add("inside", 40, raw_prefix=f"{root}/mine")
    same = await yard.add("same", 40, raw_prefix=root)
    kept = layout.raw_prefix(f"{root}/mine", inside.id, "n0", 0)
    uploaded = layout.upload_uri(root, PROJECT, "development", "folder", "file")
    for uri in (kept, uploaded):
        await yard.blobs.write(uri, b"mine")
    await yard.collector().collect()
    assert await yard.names() == set()
    places = [layout.execution_prefixes(root, state.id)[1] for state in (inside, same)]
    assert set(await yard.blobs.list(root)) == {kept, uploaded, *(f"{place}/n0/1" for place in places)}


async def test_blobs_in_a_cloud_are_deleted(database_url: str, engine: AsyncEngine, blob_store: BlobStore) -> None:
    yard = await Yard(database_url, engine, blob_store).open(PROJECT)
    await yard.add("old", 40)
    recent = await yard.add("recent", 4)
    assert (await yard.collector().collect()).usage.blobs == 3
    await yard.require_only([recent])
    await yard.close()
