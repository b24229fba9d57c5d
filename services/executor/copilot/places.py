"""Blobs wherever they lie: inputs may come from buckets that are not the installation's own.

Large ones never are in memory as a whole. A store that does not answer is asked again until `patience_seconds` are
over; a download goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

import httpx2

from libs import blob
from libs.blob import BlobStore
from libs.runtime.backoff import Backoff
from libs.workflow import errors

logger = logging.getLogger(__name__)

_FILE: Final = "file://"
_AGAIN_SECONDS: Final = (0.2, 10.0)
_WEB_SECONDS: Final = 60.0
"""Without a word of a web server."""

_AT_ONCE: Final = 4
"""Blobs that are on their way: each takes up to 20 MB of memory."""

Result = TypeVar("Result")


async def all_of(transfers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Carries out what `transfers` makes, a few at a time. The first failure ends the others, and is raised."""
    coming = iter(transfers)

    async def some() -> None:
        for transfer in coming:
            await transfer

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(some(), name=f"transfers {number}")
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class Places:
    """The stores that were needed so far."""

    def __init__(self, patience_seconds: float = 60.0) -> None:
        self._stores: dict[str, BlobStore] = {}
        self._patience_seconds = patience_seconds

    async def read(self, uri: str, limit_bytes: int) -> bytes:
        """Raises NotFound, ResourceExhausted, InvalidArgument or Unavailable."""
        store, place = self._at(uri)
        return await self._patiently(lambda: store.read(place, limit_bytes))

    async def write(self, uri: str, data: bytes) -> None:
        store, place = self._at(uri)
        await self._patiently(lambda: store.write(place, data))

    async def list(self, uri: str) -> list[tuple[str, str]]:
        """All blobs below a uri: each one's own, and its path below; empty for one that lies at the uri itself."""
        store, place = self._at(uri.rstrip("/"))
        found = await self._patiently(lambda: store.list(place))
        return [(each, each.removeprefix(place).lstrip("/")) for each in found]

    async def download(self, uri: str, path: Path) -> None:
        """Brings a blob into a file. Raises as `read`."""
        with _opened(path) as file:

            async def go_on() -> None:
                async for piece in self._stream(uri, file.tell()):
                    file.write(piece)

            await self._patiently(go_on, file.tell)

    async def upload(self, path: Path, uri: str) -> None:
        """Brings a file into a blob."""
        store, place = self._at(uri)
        await self._patiently(lambda: store.write_file(place, path))

    async def _stream(self, uri: str, offset: int) -> AsyncIterator[bytes]:
        if uri.startswith(("http://", "https://")):
            pieces = _from_the_web(uri, offset)
        else:
            store, place = self._at(uri)
            pieces = store.stream(place, offset)
        async for piece in pieces:
            yield piece

    def _at(self, uri: str) -> tuple[BlobStore, str]:
        """The store of a uri, and what it calls it."""
        plain = uri.removeprefix(_FILE) if uri.startswith("file:///") else uri
        if plain.startswith("/"):
            root = str(Path(plain).parent)
        else:
            parts = urlsplit(plain)
            root = f"{parts.scheme}://{parts.netloc}"
            if not (parts.scheme and parts.netloc):
                raise errors.InvalidArgument(
                    f"{uri!r} is neither an absolute path nor an address such as s3://bucket/key"
                )
        if root not in self._stores:
            self._stores[root] = blob.open(root)
        return self._stores[root], plain

    async def _patiently(
        self, call: Callable[[], Awaitable[Result]], progress: Callable[[], int] = lambda: 0
    ) -> Result:
        """Repeats a call that the store does not answer; whoever gets further has all of the patience anew."""
        clock, backoff, reached = asyncio.get_running_loop().time, Backoff(*_AGAIN_SECONDS), progress()
        until = clock() + self._patience_seconds
        while True:
            try:
                return await call()
            except errors.Unavailable as error:
                if progress() > reached:
                    backoff, reached, until = Backoff(*_AGAIN_SECONDS), progress(), clock() + self._patience_seconds
                wait = backoff.next()
                if clock() + wait > until:
                    raise
                logger.warning("the blob store does not answer, trying again: %s", error)
                await asyncio.sleep(wait)


async def _from_the_web(url: str, offset: int) -> AsyncIterator[bytes]:
    """What anybody can get; from the start or, where that server can do it, from a byte on."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        async with (
            httpx2.AsyncClient(follow_redirects=True, timeout=_WEB_SECONDS) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code >= 500 or (offset and response.status_code != 206):
                raise errors.Unavailable(f"{url} answers {response.status_code}")
            if response.status_code >= 400:
                raise errors.NotFound(f"{url} answers {response.status_code}")
            async for piece in response.aiter_bytes():
                yield piece
    except httpx2.InvalidURL as error:
        raise errors.InvalidArgument(f"{url!r} is no address: {error}") from error
    except httpx2.HTTPError as error:
        raise errors.Unavailable(f"{url}: {str(error) or type(error).__name__}") from error


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")
