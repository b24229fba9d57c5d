"""Watchers are woken by hints, by their timer, and by the end."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.workflow.errors import Unavailable
from services.admin.hints import Hints

LONG = 30.0


async def test_a_hint_wakes_who_watches_that_execution_and_nobody_else() -> None:
    hints = Hints()
    with hints.bell(1) as one, hints.bell(2) as two, hints.bell() as anyone:
        hints.tell([1])
        await one.wait(LONG)
        await anyone.wait(LONG)
        started = time.monotonic()
        await two.wait(0.05)
        assert time.monotonic() - started >= 0.05


async def test_a_hint_that_comes_while_its_watcher_reads_is_not_lost() -> None:
    hints = Hints()
    with hints.bell(1) as bell:
        hints.tell([1])
        await bell.wait(LONG)
        hints.tell([1, 1, 1])
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
        hints.tell([1])
        await first.wait(LONG)
