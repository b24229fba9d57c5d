"""Two halves of one stream, run side by side. The names of the arguments become the names of the tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

Work = Coroutine[Any, Any, Any]


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
