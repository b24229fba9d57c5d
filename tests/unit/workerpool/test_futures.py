"""A job's end as a future: it behaves as a task does."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from libs.workerpool import PoolStopped, WorkerPool
from tests.support.gauges import Gauge, turns, until


async def test_a_future_gives_the_result_or_the_error_of_its_job() -> None:
    async def divide(a: int, b: int) -> float:
        return a / b

    async with WorkerPool(2) as pool:
        good, bad = pool.submit_future(divide, 6, 3), pool.submit_future(divide, 6, 0)
        assert await good == 2
        with pytest.raises(ZeroDivisionError):
            await bad


async def test_an_error_in_a_future_does_not_go_to_the_handler_too() -> None:
    errors: list[BaseException] = []

    async def fail() -> None:
        raise ValueError

    async with WorkerPool(1, on_error=errors.append) as pool:
        with pytest.raises(ValueError):
            await pool.submit_future(fail)
    assert errors == []


async def test_a_cancelled_job_that_waits_leaves_the_line_at_once_and_never_starts() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        futures = [pool.submit_future(job, number) for number in range(4)]
        await until(lambda: job.now == 1)
        assert futures[2].cancel() and futures[2].cancelled()
        assert pool.waiting_queue_size == 2 and not futures[2].cancel()
        job.gate.set()
    assert job.ended == [0, 1, 3]


async def test_a_cancelled_job_that_runs_is_interrupted_and_its_worker_goes_on() -> None:
    job = Gauge()
    names: list[str] = []

    async def name() -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        assert not task.cancelling()

    async with WorkerPool(1, name="w") as pool:
        for _ in range(3):
            future = pool.submit_future(job)
            await until(lambda: job.now == 1)
            assert future.started and future.cancel() and not future.done(), "it is a request"
            with pytest.raises(asyncio.CancelledError):
                await future
            await pool.submit_wait(name)
    assert job.ended == [] and names == ["w-1"] * 3


async def test_a_job_may_clean_up_before_its_future_is_done() -> None:
    story: list[str] = []

    async def job() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            story.append("cleaned up")

    async with WorkerPool(1) as pool:
        future = pool.submit_future(job)
        await until(lambda: future.started)
        future.cancel()
        await asyncio.wait([future])
        story.append("done")
    assert story == ["cleaned up", "done"] and future.cancelled()


async def test_a_job_may_refuse_to_be_cancelled() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "still here"

    async with WorkerPool(1) as pool:
        future = pool.submit_future(stubborn)
        await until(lambda: future.started)
        future.cancel()
        assert await future == "still here"
        assert await pool.submit_wait(asyncio.sleep, 0, "next") == "next"
        assert pool.workers == 1


async def test_a_time_out_ends_the_job_as_it_would_end_a_task() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.submit_future(job), 0.01)
        assert job.now == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pool.submit_future(job)
        assert job.now == 0 and pool.running == 0


async def test_a_job_that_cancels_itself_and_ends_at_once_does_not_hit_the_next() -> None:
    futures: list[asyncio.Future[str]] = []

    async def cancel_myself() -> str:
        futures[0].cancel()
        return "ended first"

    async with WorkerPool(1) as pool:
        futures.append(pool.submit_future(cancel_myself))
        following = pool.submit_future(asyncio.sleep, 0, "unharmed")
        assert await futures[0] == "ended first" and await following == "unharmed"


async def test_a_job_that_cancels_itself_and_waits_is_cancelled() -> None:
    futures: list[asyncio.Future[None]] = []

    async def cancel_myself() -> None:
        futures[0].cancel()
        await asyncio.sleep(60)

    async with WorkerPool(1) as pool:
        futures.append(pool.submit_future(cancel_myself))
        with pytest.raises(asyncio.CancelledError):
            await futures[0]


async def test_cancelling_a_job_and_its_pool_at_once_ends_both() -> None:
    job = Gauge()
    pool = WorkerPool(1)
    future = pool.submit_future(job)
    await until(lambda: job.now == 1)
    future.cancel()
    await pool.cancel()
    assert future.cancelled() and pool.workers == 0


async def test_cancelled_jobs_do_not_pile_up_behind_one_that_hangs() -> None:
    # Every caller gives up after a while, and the only worker is stuck: the line must not grow with each of them.
    job = Gauge()

    async def late() -> None: ...

    pool = WorkerPool(1)
    pool.submit(job)
    await until(lambda: job.now == 1)
    for _ in range(10_000):
        pool.submit_future(late).cancel()
    gc.collect()
    left = sum(1 for thing in gc.get_objects() if type(thing).__name__ == "Work" and thing.job is late)
    assert pool.waiting_queue_size == 0 and left < 200
    await pool.cancel()


async def test_a_future_that_was_dropped_says_so_and_is_no_oversight(caplog: pytest.LogCaptureFixture) -> None:
    job = Gauge()
    job.gate.set()
    pool = WorkerPool(1)
    kept, forgotten = pool.submit_future(job), pool.submit_future(job)
    await pool.stop()
    with pytest.raises(PoolStopped):
        await kept
    with caplog.at_level(logging.ERROR, logger="asyncio"):
        del forgotten
        gc.collect()
        await turns()
    assert caplog.records == []
