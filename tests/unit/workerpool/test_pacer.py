"""The pacer: turns, at least an interval apart."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from libs.workerpool import Pacer, PacerStopped, WorkerPool
from tests.support.gauges import turns
from tests.support.virtual import TURNS_SECONDS, on_virtual_time

INTERVAL = 10.0


async def starts(pacer: Pacer, number: int) -> list[float]:
    """When so many paced jobs of a wide pool started."""
    times: list[float] = []

    async def job() -> None:
        times.append(asyncio.get_running_loop().time())

    async with WorkerPool(10) as pool:
        for _ in range(number):
            pool.submit(pacer.pace(job))
    return times


@on_virtual_time
async def test_paced_jobs_of_a_pool_start_at_least_an_interval_apart() -> None:
    times = await starts(Pacer(INTERVAL), 6)
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([INTERVAL] * 5, abs=TURNS_SECONDS)


@on_virtual_time
async def test_the_first_turn_is_immediate_and_turns_are_not_saved_up() -> None:
    pacer = Pacer(INTERVAL)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await pacer.next()
    assert loop.time() - began < TURNS_SECONDS
    await asyncio.sleep(5 * INTERVAL)
    times = await starts(pacer, 3)
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([INTERVAL] * 2, abs=TURNS_SECONDS)


@on_virtual_time
async def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    pacer = Pacer(INTERVAL)
    order: list[int] = []

    async def note(number: int) -> int:
        order.append(number)
        return number

    paced = pacer.pace(note)
    assert await asyncio.gather(*(paced(number) for number in range(10))) == list(range(10)) == order


@on_virtual_time
async def test_a_caller_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    pacer = Pacer(INTERVAL)
    await pacer.next()
    gone, next_one = (asyncio.create_task(pacer.next(), name="caller") for _ in range(2))
    await turns()
    gone.cancel()
    began = asyncio.get_running_loop().time()
    await next_one
    assert asyncio.get_running_loop().time() - began <= INTERVAL


@on_virtual_time
async def test_a_paused_pacer_gives_no_turns_until_it_is_resumed() -> None:
    pacer = Pacer(0)
    pacer.pause()
    caller = asyncio.create_task(pacer.next(), name="caller")
    await asyncio.sleep(3600)
    assert pacer.paused and not caller.done()
    pacer.resume()
    await caller
    assert not pacer.paused


@on_virtual_time
async def test_stopping_leaves_nobody_waiting() -> None:
    pacer = Pacer(60)
    await pacer.next()
    callers = [asyncio.create_task(pacer.next(), name="caller") for _ in range(3)]
    await turns()
    pacer.stop()
    pacer.resume()
    assert [type(end) for end in await asyncio.gather(*callers, return_exceptions=True)] == [PacerStopped] * 3
    with pytest.raises(PacerStopped):
        await pacer.next()
    assert pacer.stopped


def test_an_interval_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Pacer(-1)
