"""Ten thousand workers in one process."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from types import FrameType

import pytest

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
    pool = WorkerPool(MANY, idle_seconds=0.05)
    for _ in range(2):
        await _employ(pool)
        await until(lambda: pool.workers == 0)
    await _employ(pool)
    async with asyncio.timeout(5):
        await pool.cancel()
    assert pool.workers == 0


async def test_ten_thousand_workers_that_sleep_take_a_few_kilobytes_each() -> None:
    job = Gauge()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with WorkerPool(MANY, idle_seconds=None) as pool:
            for number in range(MANY):
                pool.submit(job, number)
            await until(lambda: job.now == MANY)
            job.gate.set()
            await until(lambda: pool.running == 0)
            assert pool.workers == MANY
            after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MANY * 4_000 and most - before < MANY * 8_000


@pytest.mark.parametrize("jobs", [1, 100])
async def test_what_a_job_costs_does_not_depend_on_how_many_workers_sleep(jobs: int) -> None:
    assert await _calls(10, jobs) == await _calls(MANY, jobs)


@pytest.mark.parametrize("size", [100, MANY])
async def test_what_a_burst_costs_does_not_depend_on_how_many_workers_there_may_be(size: int) -> None:
    few, many = await _calls_of_a_burst(10), await _calls_of_a_burst(size)
    assert few == many < 15 * 1000


async def _employ(pool: WorkerPool) -> None:
    """Has all workers at work at once."""
    job = Gauge()
    for number in range(pool.size):
        pool.submit(job, number)
    await until(lambda: job.now == pool.size)
    job.gate.set()
    await until(lambda: pool.running == 0)


async def _calls_of_a_burst(size: int) -> int:
    """How many functions it takes, Python's and C's, to do a thousand jobs that are submitted at once."""
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    async def nothing() -> None:
        pass

    pool = WorkerPool(size)
    sys.setprofile(count)
    try:
        for _ in range(1000):
            pool.submit(nothing)
        await pool.stop_wait()
    finally:
        sys.setprofile(None)
    return calls


async def _calls(sleepers: int, jobs: int) -> int:
    """How many Python functions it takes to do some jobs while so many workers sleep."""
    job = Gauge()
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    async def nothing() -> None:
        pass

    async with WorkerPool(sleepers, idle_seconds=None) as pool:
        for number in range(sleepers):
            pool.submit(job, number)
        await until(lambda: job.now == sleepers)
        job.gate.set()
        await until(lambda: pool.running == 0 and pool.workers == sleepers)
        sys.setprofile(count)
        try:
            for _ in range(jobs):
                await pool.submit_wait(nothing)
        finally:
            sys.setprofile(None)
    return calls
