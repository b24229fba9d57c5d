"""The batcher: at once when idle, in batches when busy, and an end without exceptions."""

from __future__ import annotations

import asyncio

import pytest

from libs.rpc.stream import Batcher, WhenFull
from libs.workflow import errors


async def collect(batcher: Batcher[int]) -> list[list[int]]:
    return [batch async for batch in batcher]


async def test_a_lone_item_leaves_at_once() -> None:
    batcher = Batcher[int](10, interval_seconds=60)
    waiting = asyncio.ensure_future(anext(batcher))
    await asyncio.sleep(0)
    batcher.put(1)
    async with asyncio.timeout(1):
        assert await waiting == [1]


async def test_what_gathers_while_the_sender_is_busy_leaves_together() -> None:
    batcher = Batcher[int](100)
    sent: list[list[int]] = []

    async def send() -> None:
        async for batch in batcher:
            sent.append(batch)
            await asyncio.sleep(0.02)

    sending = asyncio.create_task(send())
    batcher.put(0)
    await asyncio.sleep(0.01)
    for number in range(1, 11):
        batcher.put(number)
    batcher.close()
    await sending
    assert sent == [[0], list(range(1, 11))]


async def test_tasks_that_are_ready_together_share_a_batch() -> None:
    batcher = Batcher[int](100)

    async def produce(number: int) -> None:
        await asyncio.sleep(0)
        batcher.put(number)

    async def take() -> list[int]:
        return await anext(batcher)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(take())
        for number in range(50):
            group.create_task(produce(number))
    assert len(first.result()) == 50


async def test_a_crowd_leaves_in_batches_an_interval_apart() -> None:
    batcher = Batcher[int](1000, interval_seconds=0.05)
    collecting = asyncio.create_task(collect(batcher))
    loop = asyncio.get_running_loop()
    start = loop.time()
    while loop.time() < start + 0.2:
        for number in range(4):
            batcher.put(number)
        await asyncio.sleep(0.002)
    batcher.close()
    batches = await collecting
    assert batches[0] == [0, 1, 2, 3]
    assert len(batches) <= 6


async def test_a_sequence_of_lone_items_is_never_delayed() -> None:
    batcher = Batcher[int](10, interval_seconds=60)
    async with asyncio.timeout(5):
        for number in range(20):
            batcher.put(number)
            assert await anext(batcher) == [number]


async def test_a_batch_has_its_bound_and_order_is_kept() -> None:
    batcher = Batcher[int](100, batch_items=4)
    for number in range(10):
        batcher.put(number)
    batcher.close()
    assert await collect(batcher) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (batcher.items, batcher.batches) == (10, 3)


async def test_one_item_too_many_is_an_error_of_the_stream() -> None:
    batcher = Batcher[int](2)
    batcher.put(1)
    batcher.put(2)
    with pytest.raises(errors.ResourceExhausted):
        batcher.put(3)


async def test_hints_may_be_forgotten_the_oldest_first() -> None:
    batcher = Batcher[int](2, when_full=WhenFull.DROP_OLDEST)
    for number in range(5):
        batcher.put(number)
    batcher.close()
    assert await collect(batcher) == [[3, 4]]
    assert batcher.dropped == 3


async def test_many_at_once_are_as_each_by_itself() -> None:
    batcher: Batcher[int] = Batcher(3, when_full=WhenFull.DROP_OLDEST)
    batcher.put_all([1, 2])
    assert await anext(batcher) == [1, 2]
    batcher.put_all([])
    batcher.put_all([3, 4])
    batcher.put_all([5, 6])
    assert (await anext(batcher), batcher.dropped) == ([4, 5, 6], 1)
    strict: Batcher[int] = Batcher(3)
    with pytest.raises(errors.ResourceExhausted):
        strict.put_all([1, 2, 3, 4])
    assert len(strict) == 3
    strict.close()
    strict.put_all([5])
    assert await anext(strict) == [1, 2, 3]


async def test_closing_ends_a_waiting_sender_and_never_raises() -> None:
    batcher = Batcher[int](2)
    collecting = asyncio.create_task(collect(batcher))
    await asyncio.sleep(0)
    batcher.close()
    batcher.close()
    batcher.put(1)
    assert await collecting == []
    assert await collect(batcher) == []


async def test_a_cancelled_sender_loses_nothing() -> None:
    batcher = Batcher[int](10, interval_seconds=60)
    for number in range(4):
        batcher.put(number)
    assert len(await anext(batcher)) == 4
    batcher.put(4)
    waiting = asyncio.ensure_future(anext(batcher))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert len(batcher) == 1
