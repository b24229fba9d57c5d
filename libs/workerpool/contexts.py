"""Runs a coroutine in a context of its own within somebody else's task.

asyncio gives a context to a task, not to a coroutine, and a task for each job is what the pool avoids. So the
coroutine is driven step by step, each step inside the context; what it awaits passes through to the task unchanged,
and so do cancellations. asyncio.current_task() is the worker's.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from functools import partial
from typing import Any


@types.coroutine
def run_in_context(
    context: Context, job: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
) -> Generator[Any, None, Any]:
    """Awaits `job(*args)`, called and run inside the context. Returns or raises what the job does."""
    steps = _call(job, args)
    step: Callable[[], Any] = partial(steps.send, None)
    while True:
        try:
            awaited = context.run(step)
        except StopIteration as end:
            return end.value
        try:
            yield awaited
        except GeneratorExit:
            context.run(steps.close)
            raise
        except BaseException as error:
            step = partial(steps.throw, error)
        else:
            step = partial(steps.send, None)


async def _call(job: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    return await job(*args)
