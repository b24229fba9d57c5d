"""The pacer: turns, at least an interval apart."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from libs.workerpool import Pacer, PacerStopped, WorkerPool
from tests.support.gauges import turns

INTERVAL = 0.02
SLACK = 0.005  # the clock ticks, and a turn is taken a little after it is given


async def starts(pacer: Pacer, number: int) -> list[float]:
    """When so many paced jobs of a wide pool started."""
    times: list[float] = []

    async def job() -> None:
        times.append(asyncio.get_running_loop().time())

    async with WorkerPool(10) as pool:
        for _ in range(number):
            pool.submit(pacer.pace(job))
    return times


async def test_paced_jobs_of_a_pool_start_at_least_an_interval_apart() -> None:
    times = await starts(Pacer(INTERVAL), 6)
    assert len(times) == 6 and all(later - earlier > INTERVAL - SLACK for earlier, later in pairwise(times))


async def test_the_first_turn_is_immediate_and_turns_are_not_saved_up() -> None:
    pacer = Pacer(INTERVAL)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await pacer.next()
    assert loop.time() - began < INTERVAL
    await asyncio.sleep(5 * INTERVAL)
    times = await starts(pacer, 3)
    assert times[1] - times[0] > INTERVAL - SLACK


async def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    pacer = Pacer(0.001)
    order: list[int] = []

    async def note(number: int) -> int:
        order.append(number)
        return number

    paced = pacer.pace(note)
    assert await asyncio.gather(*(paced(number) for number in range(10))) == list(range(10)) == order


async def test_a_caller_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    pacer = Pacer(INTERVAL)
    await pacer.next()
    gone, next_one = (asyncio.create_task(pacer.next(), name="caller") for _ in range(2))
    await turns()
    gone.cancel()
    async with asyncio.timeout(INTERVAL * 1.9):
        await next_one


async def test_a_paused_pacer_gives_no_turns_until_it_is_resumed() -> None:
    pacer = Pacer(0)
    pacer.pause()
    caller = asyncio.create_task(pacer.next(), name="caller")
    await asyncio.sleep(0.01)
    assert pacer.paused and not caller.done()
    pacer.resume()
    await caller
    assert not pacer.paused


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
