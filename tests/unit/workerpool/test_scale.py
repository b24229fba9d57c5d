"""Ten thousand workers in one process."""

from __future__ import annotations

import asyncio

from libs.workerpool import WorkerPool
from tests.support.gauges import Gauge, until

MANY = 10_000


async def test_ten_thousand_jobs_run_at_once() -> None:
    job = Gauge()
    async with WorkerPool(MANY) as pool:
        for number in range(3 * MANY):
            pool.submit(job, number)
        await until(lambda: job.now == MANY)
        job.gate.set()
    assert job.most == MANY and job.started == list(range(3 * MANY)) and len(job.ended) == 3 * MANY


async def test_a_job_wakes_one_worker_however_many_sleep_and_always_the_same() -> None:
    names: set[str] = set()

    async def name() -> None:
        task = asyncio.current_task()
        names.add(task.get_name() if task else "")

    job = Gauge()
    async with WorkerPool(MANY, idle_seconds=None) as pool:
        for number in range(MANY):
            pool.submit(job, number)
        await until(lambda: job.now == MANY)
        job.gate.set()
        await until(lambda: pool.running == 0)
        assert pool.workers == MANY
        for _ in range(1000):
            await pool.submit_wait(name)
        assert len(names) == 1


async def test_ten_thousand_sleepers_retire_to_none_and_can_be_torn_down_in_their_sleep() -> None:
    job = Gauge()
    job.gate.set()
    pool = WorkerPool(MANY, idle_seconds=0.05)
    for _ in range(2):
        for number in range(MANY):
            pool.submit(job, number)
        await until(lambda: pool.workers == 0)
    for number in range(MANY):
        pool.submit(job, number)
    await until(lambda: pool.running == 0)
    async with asyncio.timeout(5):
        await pool.cancel()
    assert pool.workers == 0
