"""Reading what a task left at its output prefix, and writing what it finds at its start.

All files are looked for at once, because on an object store each look takes some ten milliseconds. A store that is away
is asked again for a while: the work is done, and only the answer is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from libs.blob import layout
from libs.blob.store import BlobStore
from libs.runtime.backoff import Backoff
from libs.workflow import errors
from libs.workflow.state import Data
from services.executor import outcome

logger = logging.getLogger(__name__)

_CALL_SECONDS: Final = 60.0

Result = TypeVar("Result")


class Storage:
    """The blob store with patience: a call is repeated until it answers or `patience_seconds` are over."""

    def __init__(self, blob: BlobStore, patience_seconds: float) -> None:
        self._blob = blob
        self._patience_seconds = patience_seconds

    async def write(self, uri: str, data: bytes) -> None:
        """Raises Unavailable or ResourceExhausted when the store has not taken it in time."""
        await self._patiently(lambda: self._blob.write(uri, data))

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        """Raises NotFound, ResourceExhausted (larger than the limit) or Unavailable."""
        return await self._patiently(lambda: self._blob.read(uri, limit_bytes))

    async def size(self, uri: str) -> int | None:
        """None when it does not exist. Raises Unavailable."""
        return await self._patiently(lambda: self._blob.size(uri))

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        backoff = Backoff(0.1, 5.0)
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    return await call()
            except errors.InvalidArgument as error:
                # The propeller chose the place, so it is no user's mistake: the two have different stores.
                raise errors.FailedPrecondition(
                    f"the executor's blob store does not have this place: {error}"
                ) from error
            except (errors.Unavailable, TimeoutError) as error:
                wait = backoff.next()
                if asyncio.get_running_loop().time() + wait > deadline:
                    raise errors.Unavailable(f"the blob store does not answer: {error}") from error
                logger.warning("the blob store does not answer, trying again: %s", error)
                await asyncio.sleep(wait)


async def collect(storage: Storage, prefix: str, inline_limit: int, size_limit: int) -> outcome.Files:
    """What lies at `prefix`. Raises Unavailable."""
    try:
        async with asyncio.TaskGroup() as group:
            error = group.create_task(_error(storage, _at(prefix, layout.ERROR), size_limit), name="read error.pb")
            futures = group.create_task(storage.size(_at(prefix, layout.FUTURES)), name="look for futures.pb")
            reading = _outputs(storage, _at(prefix, layout.OUTPUTS), inline_limit, size_limit)
            outputs = group.create_task(reading, name="read outputs.pb")
            deck = group.create_task(storage.size(_at(prefix, layout.DECK)), name="look for deck.html")
    except ExceptionGroup as group_of_errors:
        raise errors.Unavailable(f"{prefix} cannot be read: {group_of_errors.exceptions[0]}") from group_of_errors
    taken, refused = outputs.result()
    return outcome.Files(
        prefix=prefix,
        error=error.result(),
        error_uri=_at(prefix, layout.ERROR),
        futures=None if (size := futures.result()) is None else Data.at(_at(prefix, layout.FUTURES), size),
        outputs=taken,
        outputs_too_large=refused,
        deck_uri=_at(prefix, layout.DECK) if deck.result() is not None else "",
    )


def handed_back(prefix: str, outputs: bytes, deck: bool) -> outcome.Files:
    """What the task has handed over itself: nothing else of it lies at `prefix`, but its deck."""
    return outcome.Files(prefix, outputs=Data.of(outputs), deck_uri=_at(prefix, layout.DECK) if deck else "")


async def _error(storage: Storage, uri: str, size_limit: int) -> bytes | None:
    try:
        return await storage.read(uri, size_limit)
    except errors.NotFound:
        return None
    except errors.ResourceExhausted:
        return b""  # an error that is too large to read is an error without a text


async def _outputs(storage: Storage, uri: str, inline_limit: int, size_limit: int) -> tuple[Data | None, str]:
    """The outputs, inline where they are small; or why they are refused."""
    try:
        return Data.of(await storage.read(uri, inline_limit)), ""
    except errors.NotFound:
        return None, ""
    except errors.ResourceExhausted:
        size = await storage.size(uri) or 0
    if size > size_limit:
        return None, f"outputs.pb has {size} bytes, more than the {size_limit} that are taken"
    return Data.at(uri, size), ""


def _at(prefix: str, name: str) -> str:
    return f"{prefix.rstrip('/')}/{name}"
