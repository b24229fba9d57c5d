"""Blobs as files in a directory: for one machine, or a disk that all machines share.

A file is written under another name and then renamed, so that readers see it whole. It is not synced: it survives the
death of any process, not a power cut within seconds. Links that lead out of the directory are not followed, because
task code writes here too.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from libs.blob.store import Usage, is_below, joined, relative, require_below
from libs.workflow.errors import NotFound, ResourceExhausted, Unavailable

CHUNK_BYTES = 256 * 1024
"""One piece of a stream: large enough that the change of threads does not count."""

_UNFINISHED = ".part"


class DirectoryStore:
    """A `BlobStore` of files. The directory is created with the first blob."""

    def __init__(self, directory: str) -> None:
        self.root = os.path.normpath(directory)
        self._real_root = Path(os.path.realpath(self.root))

    def join(self, *parts: str) -> str:
        return joined(self.root, *parts)

    def contains(self, uri: str) -> bool:
        return is_below(self.root, uri)

    async def read(self, uri: str, limit_bytes: int | None = None) -> bytes:
        return await asyncio.to_thread(self._read, uri, limit_bytes)

    async def stream(self, uri: str, offset: int = 0) -> AsyncIterator[bytes]:
        with _failures(uri):
            file = await asyncio.to_thread(open, self._path(uri), "rb", opener=_opened)
            try:
                file.seek(offset)
                while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    yield piece
            finally:
                file.close()

    async def size(self, uri: str) -> int | None:
        return await asyncio.to_thread(self._size, uri)

    async def write(self, uri: str, data: bytes) -> None:
        await asyncio.to_thread(self._write, uri, data)

    async def write_file(self, uri: str, file: Path) -> None:
        await asyncio.to_thread(self._write, uri, file)

    async def list(self, uri_prefix: str) -> list[str]:
        return list(await asyncio.to_thread(self._list, uri_prefix))

    async def measure(self, uri_prefix: str) -> Usage:
        return await asyncio.to_thread(self._measure, uri_prefix)

    async def delete_prefix(self, uri: str) -> Usage:
        require_below(self.root, uri)
        return await asyncio.to_thread(self._delete, uri)

    def _path(self, uri: str) -> Path:
        """The file of a blob. Raises NotFound where a link leads out of the directory."""
        path = Path(os.path.realpath(self._real_root / relative(self.root, uri)))
        if not path.is_relative_to(self._real_root):
            raise NotFound(f"{uri} leads out of the store")
        return path

    def _read(self, uri: str, limit_bytes: int | None) -> bytes:
        with _failures(uri), open(self._path(uri), "rb", opener=_opened) as file:
            size = os.fstat(file.fileno()).st_size
            if limit_bytes is not None and size > limit_bytes:
                raise ResourceExhausted(f"{uri} has {size} bytes, more than the {limit_bytes} that are allowed")
            return file.read()

    def _size(self, uri: str) -> int | None:
        try:
            with _failures(uri):
                path = self._path(uri)
                return path.stat().st_size if path.is_file() else None
        except NotFound:
            return None

    def _write(self, uri: str, data: bytes | Path) -> None:
        require_below(self.root, uri)
        with _failures(uri):
            path = self._path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.parent / f".{uuid.uuid4().hex}{_UNFINISHED}"
            try:
                if isinstance(data, Path):
                    shutil.copyfile(data, unfinished)
                else:
                    unfinished.write_bytes(data)
                os.replace(unfinished, path)
            finally:
                with suppress(FileNotFoundError):
                    unfinished.unlink()

    def _list(self, uri_prefix: str) -> Sequence[str]:
        with _failures(uri_prefix):
            start = self._path(uri_prefix)
            if start.is_file():
                return [uri_prefix]
            return sorted(
                os.path.join(self.root, os.path.relpath(os.path.join(folder, name), self._real_root))
                for folder, _, names in os.walk(start)
                for name in names
                if not (name.startswith(".") and name.endswith(_UNFINISHED))
            )

    def _measure(self, uri: str) -> Usage:
        with _failures(uri):
            return _usage(self._path(uri))

    def _delete(self, uri: str) -> Usage:
        with _failures(uri), suppress(FileNotFoundError, NotFound):
            # The folder is resolved and what is in it is not: where task code has put a link, the link goes.
            folder, _, name = uri.rpartition("/")
            path = self._path(folder) / name
            usage = _usage(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            return usage
        return Usage()


def _usage(start: Path) -> Usage:
    """Of a file, or of the files below a folder; links count as what they are."""
    if start.is_symlink() or not start.is_dir():
        return Usage(1, start.lstat().st_size) if start.is_symlink() or start.is_file() else Usage()
    count = size = 0
    for folder, _, names in os.walk(start):
        for name in names:
            with suppress(FileNotFoundError):  # somebody else removes it too
                size += os.lstat(os.path.join(folder, name)).st_size
                count += 1
    return Usage(count, size)


def _opened(path: str, flags: int) -> int:
    """A file and nothing else: a pipe that task code has put there would be waited for without end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "is no file", path)
    return descriptor


@contextmanager
def _failures(uri: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFound(f"{uri} does not exist") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(f"{uri}: the disk is full") from error
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):  # task code says where things are: no use to wait for it
            raise NotFound(f"{uri[:100]} … cannot exist: {error.strerror}") from error
        raise Unavailable(f"{uri}: {error.strerror or error}") from error
