"""Literal maps that are too large for a row, on their way from and to the blob store.

A blob that can't be had now is tried again for ever, with back-off, as long as this leadership lasts: a store that is
away must not fail anybody's workflow. One that does not exist, is too large to read, or whose place leads out of the
store (tasks write there too) is an error of the node that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from libs.blob import BlobStore
from libs.workflow.errors import AirscrewError, ResourceExhausted
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from libs.workflow.state import Data
from services.propeller.assignments import Assignments
from services.propeller.patience import patiently

READ_LIMIT_BYTES = 512 * 2**20
"""Largest literal map that the leader reads into memory to make inputs from it."""


class Blobs:
    """Carries out the machine's blob commands and tells it the outcome."""

    def __init__(
        self,
        store: BlobStore,
        assignments: Assignments,
        tell: Callable[[int, m.Event], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        """`spawn` starts a task that ends with the leadership."""
        self._store = store
        self._assignments = assignments
        self._tell = tell
        self._spawn = spawn

    def carry_out(self, execution: Execution, command: m.ReadBlob | m.WriteBlob) -> None:
        """Starts reading or writing."""
        key = execution.state.key
        if isinstance(command, m.ReadBlob):
            self._spawn(f"read-blob-{key}", self._read(key, command.uri))
            return
        if command.role is m.BlobRole.INPUTS:
            uri = self._assignments.inputs_uri(execution.state.id, command.node_id)
        else:
            uri = self._assignments.outputs_uri(execution.state.id, command.node_id)
        self._spawn(f"write-blob-{key}", self._write(key, uri, command))

    async def _read(self, key: int, uri: str) -> None:
        try:
            content = await patiently(lambda: self._store.read(uri, READ_LIMIT_BYTES), f"reading {uri}")
        except AirscrewError as error:
            self._tell(key, m.BlobRead(uri, None, error.message))
        else:
            self._tell(key, m.BlobRead(uri, content))

    async def _write(self, key: int, uri: str, command: m.WriteBlob) -> None:
        try:
            await patiently(lambda: self._store.write(uri, command.content), f"writing {uri}", ResourceExhausted)
        except AirscrewError as error:
            self._tell(key, m.BlobWritten(command.node_id, command.role, None, error.message))
        else:
            self._tell(key, m.BlobWritten(command.node_id, command.role, Data.at(uri, len(command.content))))
