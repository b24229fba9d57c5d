"""Waiting for what is about to come to pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str = "what the test waits for", seconds: float = 10.0) -> None:
    """Returns as soon as the condition holds; fails with `what` did not happen. For tests with an event loop."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


def wait_until(condition: Callable[[], object], what: str = "what the test waits for", seconds: float = 10.0) -> None:
    """The same for tests without one."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
