"""The worker pool's bounds, its ends, and what failures do."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.workerpool import PoolStopped, WorkerPool
from tests.support.gauges import Gauge, turns, until


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
    async with WorkerPool(3, idle_seconds=0.03) as pool:
        for number in range(3):
            pool.submit(job, number)
        await until(lambda: job.now == 3)
        job.gate.set()
        await until(lambda: len(job.ended) == 3)
        assert pool.workers == 3
        await until(lambda: pool.workers == 0)
        assert await pool.submit_wait(job, 7) == 7


async def test_a_trickle_of_work_keeps_one_worker_and_retires_the_others() -> None:
    job = Gauge()
    async with WorkerPool(5, idle_seconds=0.05) as pool:
        for number in range(5):
            pool.submit(job, number)
        await until(lambda: job.now == 5)
        job.gate.set()
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


async def test_jobs_that_never_wait_are_all_done_by_one_worker() -> None:
    ran = 0

    async def compute() -> None:
        nonlocal ran
        ran += 1

    async with WorkerPool(100) as pool:
        for _ in range(1000):
            pool.submit(compute)
        while ran < 1000:
            assert pool.workers == 1
            await asyncio.sleep(0)


async def test_who_gets_stuck_in_a_job_is_replaced_before_the_loop_rests() -> None:
    job = Gauge()
    ran: list[int] = []

    async def compute(number: int) -> None:
        ran.append(number)

    async with WorkerPool(3) as pool:
        for number in range(100):
            pool.submit(job if number % 40 == 0 else compute, number)
        await turns(3)
        assert job.started == [0, 40, 80] and pool.running == 3
        assert ran == [number for number in range(1, 80) if number != 40], (
            "all three are stuck, nobody is left for the rest"
        )
        job.gate.set()


async def test_a_burst_of_jobs_that_wait_has_its_workers_within_a_few_turns() -> None:
    job = Gauge()
    async with WorkerPool(1000) as pool:
        for number in range(1000):
            pool.submit(job, number)
        await turns(80)
        assert job.now == 1000
        job.gate.set()


async def test_when_the_only_worker_is_cancelled_what_waits_goes_on() -> None:
    done: list[int] = []

    async def leave() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def work() -> None:
        done.append(1)

    async with WorkerPool(1) as pool:
        pool.submit(leave)
        pool.submit(work)
        await until(lambda: done == [1])


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


async def test_work_that_comes_while_a_worker_retires_is_done() -> None:
    # Both timers are due when the loop turns again: the only worker is dismissed, then, before its task has run, work
    # comes. It must not count as a worker that could take it.
    job = Gauge()
    job.gate.set()
    pool = WorkerPool(1, idle_seconds=0.01)
    await pool.submit_wait(asyncio.sleep, 0)
    asyncio.get_running_loop().call_later(0.011, pool.submit, job, 1)
    time.sleep(0.03)
    await until(lambda: job.ended == [1])
    await pool.stop()


async def test_workers_are_kept_for_ever_when_asked_to() -> None:
    async with WorkerPool(2, idle_seconds=None) as pool:
        await asyncio.gather(pool.submit_wait(asyncio.sleep, 0), pool.submit_wait(asyncio.sleep, 0))
        await asyncio.sleep(0.05)
        assert pool.workers == 2
    assert pool.workers == 0


async def test_the_error_of_a_job_whose_caller_has_gone_goes_to_the_handler() -> None:
    errors: list[BaseException] = []
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise ValueError("nobody listens")

    async with WorkerPool(1, on_error=errors.append) as pool:
        waiter = asyncio.create_task(pool.submit_wait(fail), name="waiter")
        await until(lambda: pool.running == 1)
        waiter.cancel()
        await asyncio.wait([waiter])
        assert pool.running == 1, "giving up the wait cancels no job"
        gate.set()
    assert [str(error) for error in errors] == ["nobody listens"]


async def test_a_job_cannot_wait_for_the_end_of_its_own_pool() -> None:
    pool = WorkerPool(2)
    for end in (pool.stop, pool.stop_wait, pool.cancel, pool.pause):
        with pytest.raises(RuntimeError, match="wait for itself"):
            await pool.submit_wait(end)
    assert not pool.stopped and not pool.paused
    await pool.stop()


async def test_a_job_that_submits_to_its_stopping_pool_is_refused() -> None:
    pool = WorkerPool(1)
    refused = asyncio.Event()

    async def again() -> None:
        await turns()
        try:
            pool.submit(again)
        except PoolStopped:
            refused.set()

    pool.submit(again)
    await turns(2)
    await pool.stop_wait()
    assert refused.is_set()


async def test_nobody_hangs_when_the_pool_is_stopped_in_any_way() -> None:
    for way in ("stop", "stop_wait", "cancel"):
        job = Gauge()
        pool = WorkerPool(1)
        waiters = [asyncio.create_task(pool.submit_wait(job, n), name=f"waiter-{n}") for n in range(3)]
        await until(lambda job=job: job.now == 1)
        end = asyncio.create_task(getattr(pool, way)(), name=way)
        await turns()
        job.gate.set()
        async with asyncio.timeout(5):
            await end
            ends = await asyncio.gather(*waiters, return_exceptions=True)
        expected = {"stop": [int, PoolStopped, PoolStopped], "stop_wait": [int] * 3}
        assert [type(one) for one in ends] == expected.get(way, [asyncio.CancelledError, PoolStopped, PoolStopped])


async def test_jobs_that_wait_are_done_although_somebody_has_cancelled_the_worker() -> None:
    done: list[int] = []

    async def leave() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def work() -> None:
        done.append(1)

    pool = WorkerPool(1)
    pool.submit(leave)
    pool.submit(work)
    await pool.stop_wait()
    assert done == [1] and pool.workers == 0


async def test_a_generator_error_that_no_future_can_hold_is_told_all_the_same() -> None:
    def job() -> asyncio.Future[None]:
        raise StopIteration

    async with WorkerPool(1) as pool:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await pool.submit_wait(job)


def test_a_job_that_exits_the_process_exits_it_and_leaves_nobody_waiting() -> None:
    ends: list[BaseException] = []

    async def leave() -> None:
        raise SystemExit(7)

    async def main() -> None:
        pool = WorkerPool(1)
        try:
            await pool.submit_future(leave)
        except BaseException as error:
            ends.append(error)
            raise

    with pytest.raises(SystemExit, match="7"):
        asyncio.run(main())
    assert len(ends) == 1
