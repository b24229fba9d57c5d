"""Watchers are woken by hints, by their timer, and by the end."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.workflow.errors import Unavailable
from libs.workflow.phases import ExecutionPhase
from services.admin.hints import MANY, Hints

LONG = 30.0
RUNS = (1, ExecutionPhase.RUNNING)


async def test_a_hint_wakes_who_watches_that_execution_and_nobody_else() -> None:
    hints = Hints()
    with hints.bell(1) as one, hints.bell(2) as two, hints.bell() as anyone:
        hints.tell([RUNS])
        await one.wait(LONG)
        await anyone.wait(LONG)
        started = time.monotonic()
        await two.wait(0.05)
        assert time.monotonic() - started >= 0.05


async def test_a_hint_that_comes_while_its_watcher_reads_is_not_lost() -> None:
    hints = Hints()
    with hints.bell(1) as bell:
        hints.tell([RUNS])
        await bell.wait(LONG)
        hints.tell([RUNS, RUNS, RUNS])
        await bell.wait(LONG)
        started = time.monotonic()
        await bell.wait(0.05)
        assert time.monotonic() - started >= 0.05


async def test_lost_hints_wake_everybody() -> None:
    hints = Hints()
    with hints.bell(1) as one, hints.bell() as anyone:
        hints.tell_all()
        await one.wait(LONG)
        await anyone.wait(LONG)


async def test_closing_ends_all_waiting_now_and_later() -> None:
    hints = Hints()
    with hints.bell(1) as bell:
        waiting = asyncio.create_task(bell.wait(LONG))
        await asyncio.sleep(0)
        hints.close()
        with pytest.raises(Unavailable, match="stopping"):
            await waiting
        with pytest.raises(Unavailable):
            await bell.wait(LONG)
    with hints.bell(1) as late, pytest.raises(Unavailable):
        await late.wait(LONG)


async def test_two_watchers_of_one_execution_leave_independently() -> None:
    hints = Hints()
    with hints.bell(1) as first:
        with hints.bell(1):
            pass
        hints.tell([RUNS])
        await first.wait(LONG)


async def test_an_end_is_told_at_once_and_what_goes_on_at_a_pace() -> None:
    hints = Hints()
    with hints.bell(1) as bell:
        hints.tell([RUNS])
        looking = asyncio.create_task(bell.wait(LONG, pace_seconds=LONG))
        await asyncio.sleep(0.05)
        assert not looking.done()
        hints.tell([(1, ExecutionPhase.SUCCEEDED)])
        await asyncio.wait_for(looking, 10)
        hints.tell([RUNS])
        await asyncio.wait_for(bell.wait(LONG, pace_seconds=0.01), 10)


async def test_a_bell_tells_what_it_has_rung_for() -> None:
    hints = Hints()
    with hints.bell() as bell:
        hints.tell([RUNS, (2, ExecutionPhase.FAILED), RUNS])
        assert bell.taken() == {1, 2}
        assert bell.taken() == set()
        hints.tell_all()
        assert bell.taken() is None
        hints.tell((key, ExecutionPhase.RUNNING) for key in range(MANY + 1))
        assert bell.taken() is None


async def test_no_more_ends_are_remembered_than_it_says() -> None:
    hints = Hints()
    hints.tell_first_hand([(key, ExecutionPhase.SUCCEEDED) for key in range(MANY - 1)])
    hints.tell_first_hand([(key, ExecutionPhase.SUCCEEDED) for key in range(MANY - 1, MANY + 5)])
    assert len(hints._heard) == MANY
    with hints.bell() as bell:
        hints.tell([(5, ExecutionPhase.SUCCEEDED)])
        assert not bell._rung, "it was told first-hand"
        hints.tell([(4, ExecutionPhase.SUCCEEDED)])
        assert bell._rung, "it is forgotten that it was"
