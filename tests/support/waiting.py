"""Waiting for what is about to come to pass in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str = "what the test waits for", seconds: float = 10.0) -> None:
    """Returns as soon as the condition holds; fails with `what` did not happen."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None
