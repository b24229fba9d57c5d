"""Waiting for several things at once: who counts, what is raised, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from libs.runtime import together


class Work:
    """Something that sleeps until it is released or cancelled, and knows how it ended."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.cancelled = False

    async def run(self) -> str:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def fail() -> None:
    raise LookupError("no such thing")


async def nothing() -> None:
    pass


async def test_both_returns_when_the_last_one_has_ended() -> None:
    slow = Work()
    running = asyncio.create_task(together.both(quick=nothing(), slow=slow.run()))
    await asyncio.sleep(0)
    assert not running.done()
    slow.release.set()
    await running


async def test_a_failure_of_one_ends_the_other() -> None:
    other = Work()
    with pytest.raises(ExceptionGroup) as failed:
        await together.both(fail=fail(), other=other.run())
    assert failed.group_contains(LookupError)
    assert other.cancelled


async def test_the_first_to_end_ends_the_others() -> None:
    other = Work()
    await together.first_to_end(quick=nothing(), other=other.run())
    assert other.cancelled


async def test_the_first_to_end_raises_what_it_failed_with() -> None:
    with pytest.raises(LookupError):
        await together.first_to_end(fail=fail(), other=Work().run())


async def test_work_gives_its_result_while_the_event_has_not_happened() -> None:
    work, event = Work(), asyncio.Event()
    work.release.set()
    assert await together.unless(event, "work", work.run()) == "done"


async def test_the_event_cancels_the_work() -> None:
    work, event = Work(), asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    with pytest.raises(together.Interrupted):
        await together.unless(event, "work", work.run())
    assert work.cancelled


async def test_a_result_that_is_there_counts_although_the_event_has_happened() -> None:
    work, event = Work(), asyncio.Event()
    work.release.set()
    event.set()
    assert await together.unless(event, "work", work.run()) == "done"


async def test_work_that_fails_is_no_interruption() -> None:
    with pytest.raises(LookupError):
        await together.unless(asyncio.Event(), "work", fail())


async def test_work_is_within_its_time_or_cancelled() -> None:
    late = Work()
    assert await together.within(5.0, nothing())
    assert await together.within(None, nothing())
    assert not await together.within(0.0, late.run())


async def test_a_timeout_of_the_works_own_is_a_failure() -> None:
    async def time_out() -> None:
        raise TimeoutError("somebody else's")

    with pytest.raises(TimeoutError):
        await together.within(5.0, time_out())


@pytest.mark.parametrize(
    "wait",
    [
        lambda work: together.both(work=work),
        lambda work: together.first_to_end(work=work),
        lambda work: together.unless(asyncio.Event(), "work", work),
        lambda work: together.within(5.0, work),
    ],
    ids=["both", "first_to_end", "unless", "within"],
)
async def test_whoever_is_cancelled_while_waiting_leaves_nothing_behind(
    wait: Callable[[together.Work], together.Work],
) -> None:
    work = Work()
    waiting = asyncio.create_task(wait(work.run()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert work.cancelled
