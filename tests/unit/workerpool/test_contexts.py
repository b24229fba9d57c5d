"""Context variables: a job's context is its worker's, or the one it is given."""

from __future__ import annotations

import asyncio
import contextvars
from contextvars import ContextVar, copy_context

import pytest

from libs.workerpool import WorkerPool
from tests.support.gauges import until

who: ContextVar[str] = ContextVar("who", default="nobody")


async def ask() -> list[str]:
    """Looks before and after waiting, and from a task of its own."""
    seen = [who.get()]
    await asyncio.sleep(0)
    seen.append(who.get())
    seen.append(await asyncio.create_task(_look(), name="look"))
    return seen


async def _look() -> str:
    return who.get()


async def test_a_job_runs_in_its_submitters_context_when_asked_to() -> None:
    async with WorkerPool(2) as pool:
        who.set("ann")
        ann = pool.submit_future(ask, context=copy_context())
        who.set("bob")
        bob = pool.submit_future(ask, context=copy_context())
        assert await ann == ["ann"] * 3 and await bob == ["bob"] * 3
        assert await pool.submit_wait(ask, context=copy_context()) == ["bob"] * 3


async def test_what_a_job_sets_in_its_context_stays_there() -> None:
    async def rename() -> None:
        who.set("renamed")
        await asyncio.sleep(0)

    context = copy_context()
    async with WorkerPool(1) as pool:
        await pool.submit_wait(rename, context=context)
        assert context[who] == "renamed" and who.get() == "nobody"
        assert await pool.submit_wait(ask, context=copy_context()) == ["nobody"] * 3


async def test_workers_do_not_inherit_the_context_of_whoever_submitted_first() -> None:
    async with WorkerPool(1) as pool:
        who.set("ann")
        assert await pool.submit_wait(ask) == ["nobody"] * 3


async def test_two_jobs_may_share_a_context() -> None:
    context = contextvars.Context()
    context.run(who.set, "shared")
    async with WorkerPool(2) as pool:
        assert await asyncio.gather(*(pool.submit_wait(ask, context=context) for _ in range(2))) == [["shared"] * 3] * 2


async def test_errors_and_cancellations_pass_through_a_context() -> None:
    cleaned_up: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("from within")

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned_up.append(who.get())
            raise

    async with WorkerPool(1) as pool:
        who.set("ann")
        with pytest.raises(ValueError, match="from within"):
            await pool.submit_wait(fail, context=copy_context())
        future = pool.submit_future(hang, context=copy_context())
        await until(lambda: future.started)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        assert cleaned_up == ["ann"]


async def test_time_outs_work_within_a_context() -> None:
    async def slow() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return who.get()
        return "never"

    async with WorkerPool(1) as pool:
        who.set("ann")
        assert await pool.submit_wait(slow, context=copy_context()) == "ann"
        assert pool.workers == 1
