"""The worker pool's bounds, its ends, and what failures do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from libs.workerpool.pool import PoolStopped, WorkerPool


class Gauge:
    """A job that waits at a gate and remembers how many of its kind ran at once."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.started: list[int] = []
        self.ended: list[int] = []
        self.gate = asyncio.Event()

    async def __call__(self, number: int = 0) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        self.started.append(number)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        self.ended.append(number)
        return number


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_no_more_jobs_run_at_once_than_there_are_workers() -> None:
    job = Gauge()
    async with WorkerPool(3) as pool:
        for number in range(20):
            pool.submit(job, number)
        await until(lambda: job.now == 3)
        assert pool.workers == 3 and pool.running == 3 and pool.waiting_queue_size == 17
        job.gate.set()
    assert job.most == 3 and job.started == list(range(20)), "first come, first served"


async def test_submitting_never_blocks() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        for number in range(100_000):
            pool.submit(job, number)
        assert pool.waiting_queue_size == 100_000
        await pool.stop()
    assert job.ended == []


async def test_waiting_for_a_job_gives_its_result_or_its_error() -> None:
    async def divide(a: int, b: int) -> float:
        return a / b

    async with WorkerPool(1) as pool:
        assert await pool.submit_wait(divide, 6, 3) == 2
        with pytest.raises(ZeroDivisionError):
            await pool.submit_wait(divide, 6, 0)


async def test_an_error_goes_to_the_handler_and_the_worker_goes_on() -> None:
    errors: list[BaseException] = []
    done = []

    async def fail() -> None:
        raise ValueError("no")

    async def succeed() -> None:
        done.append(1)

    async with WorkerPool(1, on_error=errors.append) as pool:
        pool.submit(fail)
        pool.submit(succeed)
    assert [str(error) for error in errors] == ["no"] and done == [1]


async def test_a_handler_that_fails_harms_nobody() -> None:
    done = []

    def handler(error: BaseException) -> None:
        raise RuntimeError("the handler too")

    async def fail() -> None:
        raise ValueError("no")

    async def succeed() -> None:
        done.append(1)

    async with WorkerPool(1, on_error=handler) as pool:
        pool.submit(fail)
        pool.submit(succeed)
    assert done == [1]


async def test_a_job_that_raises_a_cancellation_of_its_own_does_not_end_its_worker() -> None:
    errors: list[BaseException] = []
    done = []

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def succeed() -> None:
        done.append(1)

    async with WorkerPool(1, on_error=errors.append) as pool:
        pool.submit(cancelled)
        pool.submit(succeed)
    assert done == [1] and isinstance(errors[0], asyncio.CancelledError)


async def test_stop_drops_what_waits_and_lets_what_runs_finish() -> None:
    job = Gauge()
    pool = WorkerPool(2)
    for number in range(5):
        pool.submit(job, number)
    waiter = asyncio.create_task(pool.submit_wait(job, 9), name="waiter")
    await until(lambda: job.now == 2)
    stopping = asyncio.create_task(pool.stop(), name="stopping")
    await asyncio.sleep(0.01)
    assert pool.stopped and not stopping.done() and pool.waiting_queue_size == 0
    job.gate.set()
    await stopping
    assert job.ended == [0, 1] and pool.workers == 0
    with pytest.raises(PoolStopped):
        await waiter


async def test_stop_wait_finishes_what_waits_too() -> None:
    job = Gauge()
    pool = WorkerPool(2)
    for number in range(5):
        pool.submit(job, number)
    job.gate.set()
    await pool.stop_wait()
    assert job.ended == [0, 1, 2, 3, 4] and pool.workers == 0


async def test_a_stopped_pool_refuses_jobs() -> None:
    pool = WorkerPool(1)
    await pool.stop()
    with pytest.raises(PoolStopped):
        pool.submit(Gauge())
    with pytest.raises(PoolStopped):
        await pool.submit_wait(Gauge())


async def test_stopping_a_pool_that_never_worked_or_twice_returns_at_once() -> None:
    pool = WorkerPool(4)
    await pool.stop_wait()
    await pool.stop()
    await pool.cancel()


async def test_a_grace_period_can_end_in_cancelling() -> None:
    job = Gauge()
    pool = WorkerPool(2)
    for number in range(5):
        pool.submit(job, number)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await pool.stop_wait()
    assert job.now == 2, "giving up the wait cancels no job"
    await pool.cancel()
    assert job.now == 0 and job.ended == [] and pool.workers == 0


async def test_leaving_by_an_exception_cancels_what_runs() -> None:
    job = Gauge()
    with pytest.raises(KeyError):
        async with WorkerPool(2) as pool:
            pool.submit(job)
            await until(lambda: job.now == 1)
            raise KeyError
    assert job.now == 0 and pool.workers == 0


async def test_a_caller_that_is_cancelled_takes_its_job_out_of_the_line() -> None:
    job = Gauge()
    async with WorkerPool(1) as pool:
        pool.submit(job, 1)
        waiter = asyncio.create_task(pool.submit_wait(job, 2), name="waiter")
        await until(lambda: pool.waiting_queue_size == 1)
        waiter.cancel()
        await asyncio.wait([waiter])
        job.gate.set()
    assert job.ended == [1]


async def test_idle_workers_retire_until_none_is_left_and_come_back_for_work() -> None:
    job = Gauge()
    job.gate.set()
    async with WorkerPool(3, idle_seconds=0.03) as pool:
        for number in range(3):
            pool.submit(job, number)
        await until(lambda: len(job.ended) == 3)
        assert pool.workers == 3
        await until(lambda: pool.workers == 0)
        assert await pool.submit_wait(job, 7) == 7


async def test_a_trickle_of_work_keeps_one_worker_and_retires_the_others() -> None:
    job = Gauge()
    job.gate.set()
    async with WorkerPool(5, idle_seconds=0.05) as pool:
        for number in range(5):
            pool.submit(job, number)
        for _ in range(12):
            await asyncio.sleep(0.01)
            await pool.submit_wait(job)
        assert pool.workers == 1


async def test_jobs_that_never_wait_do_not_keep_the_loop_from_others() -> None:
    ran = 0

    async def compute() -> None:
        nonlocal ran
        ran += 1

    async with WorkerPool(1) as pool:
        for _ in range(1000):
            pool.submit(compute)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < ran < 100


async def test_workers_are_named_after_their_pool() -> None:
    names = []

    async def job() -> None:
        task = asyncio.current_task()
        names.append(task.get_name() if task else "")

    async with WorkerPool(1, name="turns") as pool:
        pool.submit(job)
    assert names == ["turns-1"]


def test_a_pool_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        WorkerPool(0)


async def test_cancelling_dismisses_workers_that_sleep() -> None:
    pool = WorkerPool(4)
    await pool.submit_wait(asyncio.sleep, 0)
    assert pool.workers == 1
    assert pool.running == 0
    await pool.cancel()
    assert pool.workers == 0
