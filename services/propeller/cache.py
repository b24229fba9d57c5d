"""What nodes ask the cache of outputs, and who is told when a value that is being computed has been.

A node that may not compute a value because another one does waits to be told. When the other's end was committed by
this leader, it is told at once. When it was not (another shard, an owner that vanished), nobody tells: the safety net
is that all who wait ask again every few seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from libs.runtime.backoff import Backoff
from libs.runtime.clock import Clock
from libs.store.records import CacheAnswer, CacheRequest
from libs.workflow.machine import messages as m
from libs.workflow.state import Reservation
from services.propeller.library import Library
from services.propeller.lookups import Lookups
from services.propeller.store import LeaderStore

ASK_AGAIN_SECONDS = 5.0
"""How long a node waits at most, give or take a fifth, before it asks again of itself."""


class _Answered(NamedTuple):
    """What the store said, and whether the key was released while it was being read."""

    answer: CacheAnswer
    outdated: bool


class Cache:
    """The way of a leader's executions to the cache."""

    def __init__(
        self,
        store: LeaderStore,
        library: Library,
        clock: Clock,
        tell: Callable[[int, m.Event], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._library = library
        self._clock = clock
        self._tell = tell
        self._lookups: Lookups[CacheRequest, _Answered] = Lookups("look-up-cache", self._read, self._answer, spawn)
        self._waiting: defaultdict[bytes, set[int]] = defaultdict(set)
        """By key, the executions with nodes that wait for its value. Bounded by what is in memory: see `_freed`."""
        self._released: set[bytes] | None = None
        """While a read is under way, what was released since it began."""

    def look_up(self, execution_key: int, command: m.LookUpCache) -> None:
        """Asks for a node."""
        self._lookups.ask(CacheRequest(command.key, execution_key, command.node_id, command.reserve))

    def released(self, reservations: Iterable[Reservation]) -> None:
        """It is durable that whoever had these is done: whoever waits for them asks again."""
        for reservation in reservations:
            if self._released is not None:
                self._released.add(reservation.key)
            self._freed(reservation.key)

    async def ask_again(self) -> None:
        """Has everybody who waits ask again, for ever."""
        pause = Backoff(ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS)
        while True:
            await asyncio.sleep(pause.next())
            for key in list(self._waiting):
                self._freed(key)

    def _freed(self, key: bytes) -> None:
        """An execution that has left memory asks anew when it is read."""
        for execution_key in self._waiting.pop(key, ()):
            if self._library.get(execution_key) is not None:
                self._tell(execution_key, m.CacheFreed(key))

    async def _read(self, requests: Sequence[CacheRequest]) -> Mapping[CacheRequest, _Answered]:
        self._released = released = set[bytes]()
        try:
            answers = await self._store.look_up_cache(requests, self._clock.now_us())
        finally:
            self._released = None
        return {
            request: _Answered(answer, request.key in released)
            for request, answer in zip(requests, answers, strict=True)
        }

    def _answer(self, request: CacheRequest, answered: _Answered | None, trouble: str) -> None:
        if answered is None:
            self._tell(request.execution_key, m.CacheAnswered(request.node_id, None, error=trouble))
        elif answered.answer.reserved:
            self._tell(request.execution_key, m.CacheAnswered(request.node_id, answered.answer.outputs))
        elif answered.outdated:
            self._lookups.ask(request)
        else:
            self._waiting[request.key].add(request.execution_key)
            self._tell(request.execution_key, m.CacheAnswered(request.node_id, None, reserved=False))
