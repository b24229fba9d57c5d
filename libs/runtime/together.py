"""Waiting for several things at once without leaving any of them behind.

Guarantee: whatever is given to one of these functions has ended when the function returns or raises. The names of the
arguments become the names of the tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
Work = Coroutine[Any, Any, Any]


class Interrupted(Exception):
    """What work was not to outlast happened first; the work was cancelled."""


async def both(**works: Work) -> None:
    """Runs them to their ends. A failure of one cancels the others and is raised, in a group."""
    async with asyncio.TaskGroup() as group:
        for name, work in works.items():
            group.create_task(work, name=name)


async def first_to_end(**works: Work) -> None:
    """Runs them until one ends, then cancels the others. Raises what went wrong."""
    tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def unless(event: asyncio.Event, name: str, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns; raises `Interrupted` when `event` is set first. A result that is there counts."""
    working = asyncio.create_task(work, name=name)
    happening = asyncio.create_task(event.wait(), name=f"{name}, unless")
    try:
        await asyncio.wait((working, happening), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Interrupted
        return working.result()
    finally:
        working.cancel()
        happening.cancel()
        await asyncio.gather(working, happening, return_exceptions=True)


async def within(seconds: float | None, work: Work) -> bool:
    """Whether `work` was done in time; None is for ever."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise  # of the work's own
        return False
    return True
