"""Where what a task prints goes: straight into the blob store where that is a directory, else there by uploads.

The supervisor appends to a local file. In a directory store that file is the log itself, readable while the task runs.
Other stores know no appending, so the file is uploaded as a whole whenever it has grown; the larger it is, the
rarer, so that a chatty task doesn't spend its network on its log. A log that cannot be uploaded fails no task.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from libs.workflow import errors
from services.executor.datadir import remove
from services.executor.results import Storage

logger = logging.getLogger(__name__)

# An upload is followed by a pause of at least this many times its own duration.
_PAUSE_FACTOR: Final = 10
_TAIL_BYTES: Final = 4 << 10
_KEPT_BYTES: Final = 16 << 10  # of the end of a log that was cut


class TaskLog:
    """The log of one attempt. `path` is where to append."""

    def __init__(self, storage: Storage, uri: str, local: Path, upload_seconds: float) -> None:
        self._storage = storage
        self._uri = uri
        self._upload_seconds = upload_seconds
        self._direct = uri.startswith("/")
        self._uploaded_bytes = -1
        self.path = Path(uri) if self._direct else local

    async def open(self) -> None:
        """Makes room for the file. Raises Unavailable."""
        try:
            await asyncio.to_thread(self.path.parent.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise errors.Unavailable(f"the log {self.path} cannot be written: {error}") from error

    async def follow(self) -> None:
        """Uploads what has been added, for ever; ended by cancellation."""
        if self._direct:
            return
        loop = asyncio.get_running_loop()
        pause = self._upload_seconds
        while True:
            await asyncio.sleep(pause)
            began = loop.time()
            await self._upload()
            pause = max(self._upload_seconds, _PAUSE_FACTOR * (loop.time() - began))

    def tail(self) -> str:
        """The last lines, for a message."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    async def close(self) -> None:
        """The last upload; the local file goes."""
        if not self._direct:
            await self._upload()
            await asyncio.to_thread(remove, self.path)

    async def _upload(self) -> None:
        try:
            size = self.path.stat().st_size
            if size != self._uploaded_bytes:
                await self._storage.write(self._uri, await asyncio.to_thread(self.path.read_bytes))
                self._uploaded_bytes = size
        except FileNotFoundError:
            pass  # nothing has been started
        except (OSError, errors.AirscrewError) as error:
            logger.warning("the log %s was not uploaded: %s", self._uri, error)


class Printed:
    """What a task prints in a process that it shares: a log with a cap, like the supervisor's, made when there is
    something to put into it. A disk that refuses loses lines, never the task.
    """

    def __init__(self, path: Callable[[], Path], limit: int) -> None:
        self._path = path
        self._limit = limit
        self._room = limit
        self._file: int | None = None
        self._dropped = 0
        self._last = b""
        self.any = False
        """Whether anything was printed."""

    def write(self, data: bytes) -> None:
        self.any = True
        head, rest = data[: self._room], data[self._room :]
        self._room -= len(head)
        self._dropped += len(rest)
        self._last = (self._last + data)[-_KEPT_BYTES:]
        self._append(head)

    def tail(self) -> str:
        """The last lines, for a message."""
        return self._last[-_TAIL_BYTES:].decode(errors="replace").strip()

    def close(self) -> None:
        if self._dropped:
            last = self._last[-self._dropped :]
            missing = self._dropped - len(last)
            notice = f"\n[the log was cut at {self._limit} bytes: {missing} bytes are missing here]\n"
            self._append(notice.encode() + last)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, data: bytes) -> None:
        try:
            if self._file is None:
                path = self._path()
                path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(path, flags, 0o644)
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self._dropped += len(data)
