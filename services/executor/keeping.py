"""All processes that are kept for many tasks: which of them is free, and in whose line there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from libs.runtime.clock import Clock
from libs.workflow import errors
from libs.workflow.quantities import Slots
from services.executor import datadir
from services.executor.kept import LONG_SECONDS, Kept, Kind, Plan
from services.executor.settings import ExecutorSettings
from services.executor.zygotes import Zygotes


class KeptProcesses:
    """All of them, and the owner of the tasks that they live in: a context, whose end is theirs."""

    def __init__(self, settings: ExecutorSettings, root: Path, zygotes: Zygotes, clock: Clock) -> None:
        self._settings = settings
        self._root = root
        self._zygotes = zygotes
        self._clock = clock
        self.plans: dict[Hashable, Plan] = {}
        """What is remembered of tasks, oldest first."""
        self._idle: dict[Kind, list[Kept]] = {}
        self._busy: dict[Kind, set[Kept]] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._count = 0
        self._lives: set[asyncio.Task[None]] = set()
        self._retiring: asyncio.Task[None] | None = None

    async def __aenter__(self) -> KeptProcesses:
        self._retiring = asyncio.create_task(self._retire_idle(), name="retire kept processes")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._retiring is not None:
            self._retiring.cancel()
            await asyncio.gather(self._retiring, return_exceptions=True)
        if self._looking is not None:
            self._looking.cancel()
        for kept in [kept for idle in self._idle.values() for kept in idle]:
            kept.end()
        await asyncio.gather(*self._lives, return_exceptions=True)

    def take(self, kind: Kind) -> Kept | None:
        """One that is free."""
        idle = self._idle.get(kind, [])
        while idle:
            kept = idle.pop()
            if not kept.ended:
                self._busy[kind].add(kept)
                return kept
        return None

    def behind(self, kind: Kind, slots: Slots) -> Kept | None:
        """One in whose line there is room, and of whose tasks each holds so much: that with the shortest line."""
        found = None
        for kept in self._busy.get(kind, ()):
            fits = kept.room and kept.grant is not None and kept.grant.slots == slots
            if fits and (found is None or kept.in_line < found.in_line):
                found = kept
        if found is not None and found.tasks >= self._settings.reuse_tasks:
            return None
        return found

    def watch_lines(self) -> None:
        """Somebody is in line: looks from now on whether those before them take long."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LONG_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        lines = [kept for busy in self._busy.values() for kept in busy if kept.in_line]
        for kept in lines:
            if kept.takes_long:
                kept.recall()
        if lines:
            self.watch_lines()

    async def start(self, kind: Kind, order: dict[str, Any]) -> Kept:
        """Another one. Raises Cold, or Unavailable when the machine cannot start it."""
        self._count += 1
        directory = self._root / f"kept-{self._count}"
        await asyncio.to_thread(datadir.make_scratch, directory, self._settings.task_uid, self._settings.task_gid)
        try:
            kept = Kept(kind, directory, self._zygotes.take(kind.recipe))
        except BaseException:
            await asyncio.to_thread(datadir.remove, directory)
            raise
        try:
            await asyncio.shield(self._begin(kept, order))
        except OSError as error:
            raise errors.Unavailable(f"cannot start a process: {error}") from error
        return kept

    async def _begin(self, kept: Kept, order: dict[str, Any]) -> None:
        try:
            await kept.start(order)
        finally:
            life = asyncio.create_task(kept.live(), name="kept process")
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
        self._busy.setdefault(kept.kind, set()).add(kept)

    def give_back(self, kept: Kept) -> None:
        """Its task is over. When nobody is in line, it takes from the longest line of its kind."""
        kept.used_at = self._clock.monotonic()
        if kept.in_use and not kept.ended:
            return
        busy = self._busy[kept.kind]
        busy.discard(kept)
        if kept.ended:
            return
        if kept.tasks >= self._settings.reuse_tasks:
            kept.discard()
        else:
            self._idle.setdefault(kept.kind, []).append(kept)
        longest = max(busy, key=lambda each: each.in_line, default=None)
        if longest is not None:
            longest.recall()

    async def _retire_idle(self) -> None:
        idle_seconds = self._settings.zygote_idle_seconds
        while True:
            await asyncio.sleep(idle_seconds / 4)
            before = self._clock.monotonic() - idle_seconds
            for kind, idle in list(self._idle.items()):
                for kept in [kept for kept in idle if kept.used_at < before]:
                    idle.remove(kept)
                    kept.discard()
                if not idle:
                    del self._idle[kind]
