"""Streams that outlive their connection: a server that is restarted is waited for, nothing is missed, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from libs.runtime.backoff import Backoff
from libs.workflow.errors import Unavailable
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import NodePhase
from services.cli.api import Admin
from services.cli.names import NodeRef
from services.cli.views import Change, LogChunk, Node

FAILED_ITEMS = 10
"""Failed items of an array node that are told one by one: of a hundred thousand items nobody wants a line each."""

PATIENCE_SECONDS = 60.0
"""How long a server that answered once may be away before a command gives up."""


class _Patience:
    """Decides between another attempt and giving up."""

    def __init__(self) -> None:
        self._backoff = Backoff(base_seconds=0.1, cap_seconds=2.0)
        self._answered_at: float | None = None

    def answered(self) -> None:
        self._backoff.reset()
        self._answered_at = time.monotonic()

    async def wait(self, error: Unavailable | None) -> None:
        """Waits for the next attempt; raises `error` when the server never answered, or not for too long."""
        never = self._answered_at is None
        if error is not None and (never or time.monotonic() - (self._answered_at or 0.0) > PATIENCE_SECONDS):
            raise error
        await asyncio.sleep(self._backoff.next())


async def changes(admin: Admin, id: ExecutionId) -> AsyncIterator[Change]:
    """The state now and every change until the execution is final, each phase of each thing once.

    Of what is below array nodes only the first failed items are told. Raises Unavailable when the server stays away.
    """
    patience = _Patience()
    known = _Known()
    while True:
        error: Unavailable | None = None
        try:
            async for change in admin.watch(id):
                patience.answered()
                if news := known.news_in(change):
                    yield news
                if change.execution is not None and change.execution.phase.terminal:
                    return
        except Unavailable as unavailable:
            error = unavailable
        await patience.wait(error)


class _Known:
    """What has been told already: after a reconnect the server starts with the present state again."""

    def __init__(self) -> None:
        self._phases: dict[str, int] = {}
        self._arrays: dict[str, int] = {}
        """Array nodes, and how many more of their failed items are told."""

    def news_in(self, change: Change) -> Change | None:
        execution = change.execution
        if execution is not None and not self._is_new("", execution.phase):
            execution = None
        self._arrays.update(
            (node.id, self._arrays.get(node.id, FAILED_ITEMS)) for node in change.nodes if node.is_array
        )
        nodes = tuple(node for node in change.nodes if self._is_new_node(node) and self._is_told(node))
        return Change(execution, nodes) if execution is not None or nodes else None

    def _is_new_node(self, node: Node) -> bool:
        return self._is_new(node.id, node.phase)

    def _is_told(self, node: Node) -> bool:
        array = next((array for array in self._arrays if node.id.startswith(f"{array}-")), None)
        if array is None:
            return True
        if node.phase not in (NodePhase.FAILED, NodePhase.TIMED_OUT) or not self._arrays[array]:
            return False
        self._arrays[array] -= 1
        return True

    def _is_new(self, thing: str, phase: int) -> bool:
        if self._phases.get(thing) == phase:
            return False
        self._phases[thing] = phase
        return True


async def logs(admin: Admin, node: NodeRef, *, follow: bool) -> AsyncIterator[LogChunk]:
    """What the attempt wrote; with `follow` until it is final. After a reconnect it goes on at the same byte.

    Raises Unavailable when the server stays away, or at once without `follow`.
    """
    patience = _Patience()
    attempt, offset = node.attempt, 0
    while True:
        try:
            async for chunk in admin.logs(node.execution, node.node, attempt, follow=follow, offset=offset):
                patience.answered()
                attempt, offset = chunk.attempt, offset + len(chunk.content)
                yield chunk
            return
        except Unavailable as error:
            if not follow:
                raise
            await patience.wait(error)
