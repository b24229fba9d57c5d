"""Submitting within a bound, and changing how many may run."""

from __future__ import annotations

import asyncio

import pytest

from libs.workerpool import PoolStopped, WorkerPool
from tests.support.gauges import Gauge, turns, until


async def test_trying_to_submit_says_no_when_no_worker_is_free() -> None:
    job = Gauge()
    async with WorkerPool(2) as pool:
        assert [pool.try_submit(job, number) for number in range(4)] == [True, True, False, False]
        job.gate.set()
        await until(lambda: len(job.ended) == 2)
        assert pool.try_submit(job, 9)
    assert job.ended == [0, 1, 9]


async def test_trying_to_submit_lets_as_many_wait_as_it_is_told() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        assert [pool.try_submit(job, max_waiting=2) for _ in range(5)] == [True, True, True, False, False]
        await until(lambda: job.now == 1)
        assert pool.waiting_queue_size == 2 and not pool.try_submit(job, max_waiting=2)
        job.gate.set()


async def test_a_stopped_pool_refuses_tries_too() -> None:
    pool = WorkerPool(1)
    await pool.stop()
    with pytest.raises(PoolStopped):
        pool.try_submit(Gauge())
    with pytest.raises(PoolStopped):
        await pool.submit_when_room(Gauge())


async def test_a_producer_that_waits_for_room_never_runs_ahead_of_the_pool() -> None:
    longest = 0
    ended: list[int] = []

    async def job(number: int) -> None:
        await asyncio.sleep(0)
        ended.append(number)

    async with WorkerPool(2) as pool:
        for number in range(200):
            await pool.submit_when_room(job, number, max_waiting=3)
            longest = max(longest, pool.waiting_queue_size + pool.running)
    assert longest == 5 and sorted(ended) == list(range(200))


async def test_those_who_wait_for_room_are_served_in_order_and_not_overtaken() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        pool.submit(job, 0)
        first = asyncio.create_task(pool.submit_when_room(job, 1), name="first")
        second = asyncio.create_task(pool.submit_when_room(job, 2, max_waiting=5), name="second")
        await turns()
        assert not pool.try_submit(job, 3, max_waiting=100)
        job.gate.set()
        await asyncio.gather(first, second)
    assert job.started == [0, 1, 2]


async def test_who_gives_up_waiting_for_room_lets_the_next_one_in() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        pool.submit(job, 0)
        first = asyncio.create_task(pool.submit_when_room(job, 1), name="first")
        second = asyncio.create_task(pool.submit_when_room(job, 2, max_waiting=5), name="second")
        await turns()
        first.cancel()
        async with asyncio.timeout(5):
            await second
        assert pool.waiting_queue_size == 1
        job.gate.set()
    assert job.started == [0, 2]


async def test_a_cancelled_job_makes_room() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        pool.submit(job, 0)
        await turns()
        waiting = pool.submit_future(job, 1)
        producer = asyncio.create_task(pool.submit_when_room(job, 2, max_waiting=1), name="producer")
        await turns()
        assert not producer.done()
        waiting.cancel()
        async with asyncio.timeout(5):
            await producer
        job.gate.set()


async def test_a_stop_sends_away_those_who_wait_for_room() -> None:
    job = Gauge()
    pool = WorkerPool(1)
    pool.submit(job)
    producer = asyncio.create_task(pool.submit_when_room(job), name="producer")
    await turns()
    await pool.cancel()
    with pytest.raises(PoolStopped):
        await producer


async def test_a_bigger_pool_starts_at_once_on_what_waits() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        for number in range(10):
            pool.submit(job, number)
        await until(lambda: job.now == 1)
        pool.resize(4)
        await until(lambda: job.now == 4)
        assert pool.size == 4 and pool.waiting_queue_size == 6
        job.gate.set()
    assert job.most == 4 and job.started == list(range(10))


async def test_a_smaller_pool_interrupts_nobody_and_starts_nothing_until_fewer_run() -> None:
    jobs = [Gauge() for _ in range(5)]
    async with WorkerPool(3) as pool:
        for job in jobs:
            pool.submit(job)
        await until(lambda: pool.running == 3)
        pool.resize(1)
        jobs[0].gate.set()
        jobs[1].gate.set()
        await until(lambda: pool.running == 1)
        await turns()
        assert jobs[2].now == 1 and jobs[3].now == 0 and pool.workers == 1
        jobs[2].gate.set()
        await until(lambda: jobs[3].now == 1)
        assert pool.running == 1
        jobs[3].gate.set()
        jobs[4].gate.set()
    assert jobs[4].ended == [0]


async def test_only_the_workers_too_many_leave_when_several_jobs_end_at_once() -> None:
    first, second = Gauge(), Gauge()
    async with WorkerPool(3) as pool:
        for job in (first, first, first, second, second):
            pool.submit(job)
        await until(lambda: first.now == 3)
        pool.resize(2)
        first.gate.set()
        await turns(20)
        assert second.now == 2 and pool.workers == 2
        second.gate.set()


async def test_a_smaller_pool_dismisses_sleepers_first() -> None:
    job = Gauge()
    async with WorkerPool(4) as pool:
        await asyncio.gather(*(pool.submit_wait(asyncio.sleep, 0) for _ in range(4)))
        pool.submit(job)
        await until(lambda: job.now == 1)
        pool.resize(2)
        assert pool.workers == 2 and job.now == 1
        assert await pool.submit_wait(asyncio.sleep, 0, "the other one works") == "the other one works"
        job.gate.set()


async def test_a_pool_cannot_be_resized_to_nothing() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        WorkerPool(1).resize(0)
