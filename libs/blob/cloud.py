"""Blobs in S3, GCS or Azure, through one library that speaks to all three."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from libs.blob.store import Usage, is_below, joined, relative, require_below
from libs.workflow.errors import NotFound, ResourceExhausted, Unavailable

CHUNK_BYTES = 256 * 1024
"""The least that one piece of a stream has, but for the last."""

_PART = 5 * 1024 * 1024
"""Of a file that is stored in several requests: the least that S3 takes."""

_PAGE = 1000
"""Blobs that are listed, or deleted, with one request: the most that S3 takes."""

_CONNECT = timedelta(seconds=5)
_REQUEST = timedelta(minutes=5)  # a whole request, so it bounds the largest blob that a slow link can move
_RETRYING = timedelta(seconds=10)


class CloudStore:
    """A `BlobStore` in a bucket. Requests that fail on the way are repeated for ten seconds."""

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        self._store = from_url(
            self.root,
            # http is spoken only where the operator's endpoint says http://, as with a MinIO on the same machine.
            client_options={"allow_http": True, "connect_timeout": _CONNECT, "timeout": _REQUEST},
            retry_config={"max_retries": 4, "retry_timeout": _RETRYING},
        )

    def join(self, *parts: str) -> str:
        return joined(self.root, *parts)

    def contains(self, uri: str) -> bool:
        return is_below(self.root, uri)

    async def read(self, uri: str, limit_bytes: int | None = None) -> bytes:
        path = relative(self.root, uri)
        with _failures(uri):
            found = await obstore.get_async(self._store, path)
            if limit_bytes is not None and found.meta["size"] > limit_bytes:
                size = found.meta["size"]
                raise ResourceExhausted(f"{uri} has {size} bytes, more than the {limit_bytes} that are allowed")
            return (await found.bytes_async()).to_bytes()

    async def stream(self, uri: str, offset: int = 0) -> AsyncIterator[bytes]:
        path = relative(self.root, uri)
        with _failures(uri):
            if offset and (await obstore.head_async(self._store, path))["size"] <= offset:
                return  # S3 calls a range beyond the end an error
            found = await obstore.get_async(self._store, path, options={"range": {"offset": offset}} if offset else {})
            async for piece in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)

    async def size(self, uri: str) -> int | None:
        path = relative(self.root, uri)
        try:
            with _failures(uri):
                return (await obstore.head_async(self._store, path))["size"]
        except NotFound:
            return None

    async def write(self, uri: str, data: bytes) -> None:
        path = require_below(self.root, uri)
        with _failures(uri):
            await obstore.put_async(self._store, path, data)

    async def write_file(self, uri: str, file: Path) -> None:
        path = require_below(self.root, uri)
        with _failures(uri):
            # In parts, of which S3 takes 10,000; few at once, for each is in memory.
            part = max(_PART, -(-await asyncio.to_thread(os.path.getsize, file) // 9_000))
            await obstore.put_async(self._store, path, file, chunk_size=part, max_concurrency=4)

    async def list(self, uri_prefix: str) -> list[str]:
        return [f"{self.root}/{path}" for path in await self._paths(uri_prefix)]

    async def measure(self, uri_prefix: str) -> Usage:
        usage = Usage()
        async for page in self._pages(relative(self.root, uri_prefix), uri_prefix):
            usage = usage.plus(_usage(page))
        return usage

    async def delete_prefix(self, uri: str) -> Usage:
        path = require_below(self.root, uri)
        usage = Usage()
        async for page in self._pages(path, uri):
            with _failures(uri):
                await obstore.delete_async(self._store, [meta["path"] for meta in page])
            usage = usage.plus(_usage(page))
        return usage

    async def _paths(self, uri: str) -> Sequence[str]:
        """Paths of the blob itself and of all below it, in order."""
        return sorted([meta["path"] async for page in self._pages(relative(self.root, uri), uri) for meta in page])

    async def _pages(self, path: str, uri: str) -> AsyncIterator[Sequence[obstore.ObjectMeta]]:
        """The blob itself and all below it, each once, a bounded number at a time."""
        with _failures(uri):
            try:
                itself = await obstore.head_async(self._store, path) if path else None
            except FileNotFoundError:
                itself = None
        if itself is not None:
            yield [itself]
        pages = aiter(obstore.list(self._store, path or None, chunk_size=_PAGE))
        while True:
            with _failures(uri):
                page = await anext(pages, None)
            if page is None:
                return
            # Below its own path a blob is nothing, but some stores list what they were asked for.
            yield [meta for meta in page if itself is None or meta["path"] != path]


def _usage(page: Sequence[obstore.ObjectMeta]) -> Usage:
    return Usage(len(page), sum(meta["size"] for meta in page))


@contextmanager
def _failures(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{uri} does not exist") from error
    except (BaseError, OSError) as error:
        raise Unavailable(f"{uri}: {(str(error).strip() or type(error).__name__).splitlines()[0]}") from error
