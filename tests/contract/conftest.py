"""Which event loops the tests run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What an event loop waits for itself is tested on the one that services have, too: such tests are named so."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if "_loop.py" in item.nodeid or "the_loop" in item.name:
        loops["uvloop"] = uvloop.new_event_loop
    return loops
