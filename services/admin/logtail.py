"""What a task has written, piece by piece, and on request until its attempt is over.

The executor writes the log file in the blob store while the attempt runs. A file that grows tells nobody, so following
means looking again; whether the attempt has ended is read before the file is, so that the last lines, which are written
before the end is reported, are never missed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from libs.blob import BlobStore, layout
from libs.store.executions import Executions
from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from services.admin.hints import Hints

LOOK_SECONDS = 0.5
"""How often a followed log is looked at: as often as people notice."""


class LogTail:
    """Reads log files."""

    def __init__(self, executions: Executions, blob: BlobStore, hints: Hints) -> None:
        self._executions = executions
        self._blob = blob
        self._hints = hints

    async def find(self, id: ExecutionId, node_id: str, attempt: int | None, *, follow: bool) -> int:
        """The number of the attempt that is meant: the given one, or the node's latest.

        With `follow` it is waited for, as long as the execution may still come to it. Raises `NotFound`.
        """
        key = (await self._executions.get(id)).execution.key
        with self._hints.bell(key) as bell:
            while True:
                final = (await self._executions.get(id)).execution.phase.terminal
                try:
                    return await self._number(id, node_id, attempt)
                except NotFound:
                    if final or not follow:
                        raise
                await bell.wait()

    async def read(
        self, id: ExecutionId, node_id: str, attempt: int, offset: int, *, follow: bool
    ) -> AsyncIterator[bytes]:
        """The log from byte `offset` on; with `follow` until the attempt is final. A task that wrote nothing has an
        empty log."""
        uri = layout.log_uri(self._blob.root, id, node_id, attempt)
        key = (await self._executions.get(id)).execution.key
        with self._hints.bell(key) as bell:
            while True:
                final = (await self._executions.get_attempt(id, node_id, attempt)).attempt.phase.terminal
                with suppress(NotFound):  # nothing was written yet
                    async for piece in self._blob.stream(uri, offset):
                        offset += len(piece)
                        yield piece
                if final or not follow:
                    return
                await bell.wait(LOOK_SECONDS)

    async def _number(self, id: ExecutionId, node_id: str, attempt: int | None) -> int:
        if attempt is None:
            attempt = (await self._executions.get_node(id, node_id)).attempt
        return (await self._executions.get_attempt(id, node_id, attempt)).attempt.attempt
