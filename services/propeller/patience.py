"""Waiting for a store that is away: for ever, with back-off, as long as this leadership lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from libs.runtime.backoff import Backoff
from libs.workflow.errors import AirscrewError, Unavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def patiently(attempt: Callable[[], Awaitable[T]], what: str, also: type[AirscrewError] = Unavailable) -> T:
    """Tries until it works; `also` is another error that will pass, such as a full disk."""
    backoff = Backoff(0.1, 10.0)
    while True:
        try:
            return await attempt()
        except (Unavailable, also) as error:
            logger.warning("%s: %s", what, error.message)
            await asyncio.sleep(backoff.next())
