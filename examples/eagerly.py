"""Eager workflows: plain async Python that awaits tasks and other eager workflows, each an execution of its own."""

import asyncio

from flytekit import eager, task


@task
async def fetch(page: int) -> int:
    return page * 10


@eager
async def chapter(first: int) -> int:
    one, two = await asyncio.gather(fetch(page=first), fetch(page=first + 1))
    return one + two


@eager
async def eagerly(first: int) -> int:
    total = await chapter(first=first)
    return total if total > 40 else total + await fetch(page=1)
