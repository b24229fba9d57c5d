"""Executions on their way into memory: read together, put together one by one.

One worker reads for all: what is asked for while a read is under way shares the next one. No more are on their way than
the pool has workers; beyond that, keys are left in the work queue, where what is most urgent comes first. An execution
that needs more than its rows (a graph that has to be built, more nodes than can be put together in between) takes a
worker of its own, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from libs.runtime.clock import Clock
from libs.workerpool import WorkerPool
from libs.workflow.errors import Unavailable
from libs.workflow.machine import Execution
from libs.workflow.state import Snapshot
from services.propeller.library import Library

IN_A_ROW: Final = 48
"""How many have their first turn before others go on: some milliseconds."""


class Arrivals:
    """Belongs to the event loop. `len` is how many have been read and have not had their turn."""

    def __init__(
        self,
        library: Library,
        pool: WorkerPool,
        clock: Clock,
        begin: Callable[[int, Execution | None, int], None],
        fail: Callable[[int, Exception], None],
        there_is_room: Callable[[], None],
    ) -> None:
        """`begin` takes an execution that was read, with its key and the time; None when there is none, or it is final.
        `fail` takes the key of one that cannot be read: now, if the reason is Unavailable.
        """
        self._library = library
        self._pool = pool
        self._clock = clock
        self._begin = begin
        self._fail = fail
        self._there_is_room = there_is_room
        self._wanted: list[int] = []
        """Keys for the next read."""
        self._asked = 0
        """How many are being read."""
        self._read: deque[tuple[int, Snapshot | Exception | None]] = deque()
        self._reading = False
        """Whether somebody sees to all of these."""

    def __len__(self) -> int:
        return len(self._read)

    @property
    def full(self) -> bool:
        """Whether nothing more is to be asked for now."""
        return self._asked + len(self._read) + len(self._wanted) >= self._pool.size

    async def read(self, key: int) -> None:
        """Sees to it that an execution is read and begins; it may have begun when this returns, or somebody else does
        it."""
        self._wanted.append(key)
        if not self._reading:
            self._reading = True
            try:
                while self._wanted:
                    await self._read_what_is_wanted()
            finally:
                self._reading = False

    async def _read_what_is_wanted(self) -> None:
        keys, self._wanted = self._wanted, []
        self._asked = len(keys)
        try:
            found = await self._library.read(keys)
            self._read.extend((key, found.get(key)) for key in keys)
        except Unavailable as error:
            for key in keys:
                self._fail(key, error)
        finally:
            self._asked = 0
        self._there_is_room()
        while self._read:
            now_us = self._clock.now_us()
            for _ in range(min(IN_A_ROW, len(self._read))):
                self._arrived(*self._read.popleft(), now_us)
            self._there_is_room()
            await asyncio.sleep(0)

    def _arrived(self, key: int, found: Snapshot | Exception | None, now_us: int) -> None:
        try:
            if isinstance(found, Exception):
                raise found
            execution = None if found is None else self._library.restore(found)
            if found is None or execution is not None:
                self._begin(key, execution, now_us)
            elif not self._pool.stopped:
                self._pool.submit(self._load, key, found)
        except Exception as error:
            self._fail(key, error)

    async def _load(self, key: int, found: Snapshot) -> None:
        try:
            execution = await self._library.load(found)
            self._begin(key, execution, self._clock.now_us())
        except Exception as error:
            self._fail(key, error)
