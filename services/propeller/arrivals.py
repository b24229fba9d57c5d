"""Executions on their way into memory: read together, put together one by one.

One worker reads for all: what is asked for while a read is under way shares the next one, which begins at once, while
others give turns to what has been read. No more are on their way than the pool has workers; beyond that, keys are left
in the work queue, where what is most urgent comes first. An execution that needs more than its rows (a graph that is to
be built, more nodes than can be put together in between) takes a worker of its own, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from libs.runtime.clock import Clock
from libs.workerpool import WorkerPool
from libs.workflow.machine import Execution
from libs.workflow.state import Snapshot
from services.propeller.library import Library

GATHERING_TURNS: Final = 8
"""How often the event loop may go round before a read, while more may be asked for: some milliseconds."""


class Arrivals:
    """Belongs to the event loop. `len` is how many have been read and can begin."""

    def __init__(
        self,
        library: Library,
        pool: WorkerPool,
        clock: Clock,
        begin: Callable[[int, Execution | None, int], None],
        fail: Callable[[int, Exception], None],
        go_round: Callable[[], None],
        more_may_come: Callable[[], bool],
    ) -> None:
        """`begin` takes an execution that was read, with its key and the time; None when there is none, or it is final.
        `fail` takes the key of one that cannot be read: now, if the reason is Unavailable. Who is called by
        `go_round` comes for what can begin, and asks for more where there is room. `more_may_come` tells whether that
        is about to happen, so that a read had better wait for what else is wanted.
        """
        self._library = library
        self._pool = pool
        self._clock = clock
        self._begin = begin
        self._fail = fail
        self._go_round = go_round
        self._more_may_come = more_may_come
        self.under_way = 0
        """How many have been asked for and have not had their turn."""
        self._wanted: list[int] = []
        """Keys for the next read."""
        self._read: deque[tuple[int, Snapshot | Exception | None]] = deque()
        self._reading = False

    def __len__(self) -> int:
        return len(self._read)

    @property
    def full(self) -> bool:
        """Whether nothing more is to be asked for now."""
        return self.under_way >= self._pool.size

    def ask(self, key: int) -> None:
        """Sees to it that an execution is read, by the worker who reads already, or else by one who reads for others
        too."""
        self._wanted.append(key)
        self.under_way += 1
        self._call_a_reader()

    def _call_a_reader(self) -> None:
        if self._wanted and not self._reading and not self._pool.stopped:
            self._reading = True
            self._pool.submit(self._read_what_is_wanted)

    async def _read_what_is_wanted(self) -> None:
        """Reads as long as something is wanted; where others wait for a worker, they have theirs first."""
        try:
            while self._wanted:
                await self._gather()
                await self._read_once()
                if self._pool.waiting_queue_size:
                    break
        finally:
            self._reading = False
            self._call_a_reader()

    async def _gather(self) -> None:
        """Others have something to do, and may ask for more."""
        for _ in range(GATHERING_TURNS):
            if len(self._wanted) > self._pool.size // 2 or not self._more_may_come():
                return
            await asyncio.sleep(0)

    async def _read_once(self) -> None:
        keys, self._wanted = self._wanted, []
        try:
            found = await self._library.read(keys)
            self._read.extend([(key, found.get(key)) for key in keys])
        except Exception as error:  # whatever it is: a key of which nobody hears has no turn any more
            self.under_way -= len(keys)
            for key in keys:
                self._fail(key, error)
        self._go_round()

    def begin_next(self, now_us: int) -> bool:
        """Lets one begin that has been read; False if there is none."""
        if not self._read:
            return False
        key, found = self._read.popleft()
        self.under_way -= 1
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
        return True

    async def _load(self, key: int, found: Snapshot) -> None:
        try:
            execution = await self._library.load(found)
            self._begin(key, execution, self._clock.now_us())
        except Exception as error:
            self._fail(key, error)
