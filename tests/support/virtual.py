"""Tests that wait for nothing: asyncio with a clock that jumps to the next timer."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from tests.support.simulation.loop import VirtualLoop

P = ParamSpec("P")

TURNS_SECONDS = 0.001
"""More than what the loop's own turns add to the time of a short test."""


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs a test on a loop of its own, on which an hour takes no time and nothing takes long."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualLoop(random.Random(1))
        try:
            loop.run_until_complete(test(*args, **kwargs))
        finally:
            loop.close()

    return run
