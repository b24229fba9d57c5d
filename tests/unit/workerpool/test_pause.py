"""Pausing: quiet until it is over, and it always ends."""

from __future__ import annotations

import asyncio

import pytest

from libs.workerpool import PoolStopped, WorkerPool
from tests.support.gauges import Gauge, turns, until


async def test_a_pause_begins_when_all_that_came_before_it_has_ended() -> None:
    job = Gauge()
    async with WorkerPool(2) as pool:
        for number in range(5):
            pool.submit(job, number)
        pausing = asyncio.create_task(pool.pause(), name="pausing")
        await until(lambda: job.now == 2)
        assert pool.paused and not pausing.done()
        job.gate.set()
        pause = await pausing
        assert sorted(job.ended) == [0, 1, 2, 3, 4] and pool.running == 0
        pause.resume()


async def test_jobs_may_be_submitted_to_a_paused_pool_and_start_when_it_goes_on() -> None:
    job = Gauge()
    job.gate.set()
    async with WorkerPool(2) as pool:
        with await pool.pause() as pause:
            for number in range(3):
                pool.submit(job, number)
            await turns(20)
            assert job.started == [] and pool.waiting_queue_size == 3 and pool.workers == 0
        assert pause.over and not pool.paused
    assert job.ended == [0, 1, 2]


async def test_a_pause_ends_by_its_deadline_when_nobody_resumes() -> None:
    job = Gauge()
    job.gate.set()
    async with WorkerPool(1) as pool:
        pause = await pool.pause(0.02)
        pool.submit(job, 1)
        await turns()
        assert not pause.over and job.ended == []
        await until(lambda: job.ended == [1])
        assert pause.over
        pause.resume()


async def test_a_pause_whose_deadline_passes_before_it_is_quiet_is_a_time_out() -> None:
    job = Gauge()
    async with WorkerPool(2) as pool:
        pool.submit(job, 1)
        with pytest.raises(TimeoutError, match=r"not quiet within 0\.01 s"):
            await pool.pause(0.01)
        pool.submit(job, 2)
        await until(lambda: job.now == 2)
        job.gate.set()


async def test_giving_up_the_wait_for_a_pause_ends_it() -> None:
    job = Gauge()
    async with WorkerPool(2) as pool:
        pool.submit(job, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pool.pause()
        assert not pool.paused
        pool.submit(job, 2)
        await until(lambda: job.now == 2)
        job.gate.set()


async def test_a_second_pause_begins_when_the_first_is_over() -> None:
    job = Gauge()
    job.gate.set()
    async with WorkerPool(1) as pool:
        first = await pool.pause()
        pool.submit(job, 1)
        pausing = asyncio.create_task(pool.pause(), name="pausing")
        await turns()
        pool.submit(job, 2)
        assert not pausing.done()
        first.resume()
        second = await pausing
        await turns()
        assert job.ended == [1], "what came between the two has ended, what came after the second has not begun"
        second.resume()
    assert job.ended == [1, 2]


async def test_a_second_pause_may_end_before_the_first() -> None:
    async with WorkerPool(1) as pool:
        first = await pool.pause()
        with pytest.raises(TimeoutError):
            await pool.pause(0.01)
        assert pool.paused and not first.over
        first.resume()
        assert not pool.paused


async def test_stopping_ends_pauses_and_those_that_wait_to_begin() -> None:
    job = Gauge()
    job.gate.set()
    pool = WorkerPool(1)
    pause = await pool.pause()
    pool.submit(job, 1)
    pausing = asyncio.create_task(pool.pause(), name="pausing")
    await turns()
    async with asyncio.timeout(5):
        await pool.stop_wait()
    assert pause.over and job.ended == [1]
    with pytest.raises(PoolStopped):
        await pausing
    with pytest.raises(PoolStopped):
        await pool.pause()


async def test_dropping_what_a_pause_holds_starts_none_of_it() -> None:
    job = Gauge()
    pool = WorkerPool(3)
    await pool.pause()
    future = pool.submit_future(job)
    await pool.stop()
    assert job.started == []
    with pytest.raises(PoolStopped):
        await future


async def test_cancelling_the_last_job_before_it_lets_a_pause_begin() -> None:
    async with WorkerPool(1) as pool:
        first = await pool.pause()
        future = pool.submit_future(asyncio.sleep, 60)
        pausing = asyncio.create_task(pool.pause(), name="pausing")
        await turns()
        first.resume()
        future.cancel()  # in the same turn of the loop: a worker is on its way to it
        async with asyncio.timeout(5):
            (await pausing).resume()


async def test_nothing_is_free_in_a_paused_pool() -> None:
    job = Gauge()
    job.gate.set()
    async with WorkerPool(2) as pool:
        pause = await pool.pause()
        assert not pool.try_submit(job) and pool.try_submit(job, max_waiting=1)
        assert not pool.try_submit(job, max_waiting=1)
        producer = asyncio.create_task(pool.submit_when_room(job), name="producer")
        await turns()
        assert not producer.done()
        pause.resume()
        async with asyncio.timeout(5):
            await producer
    assert len(job.ended) == 2
