"""Waking those who watch: post-commit hints from the queue service, and a timer for when there are none.

A hint says "this execution has changed" and nothing else; whoever is woken reads SQL. So hints may be lost, doubled or
late, and the worst that happens is that a watcher looks too often, or only when its timer ends. Nothing is kept for
anybody: a bell that rings while its owner is reading rings once more when it comes back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from libs.wire.hints import Hint
from libs.workflow.errors import Unavailable
from libs.workflow.phases import ExecutionPhase

SAFETY_SECONDS = 2.0
"""How often a watcher looks although nobody told it to: for hints that got lost, and while the queue is away."""

MANY = 10_000
"""Of more executions than this nobody remembers which have changed."""

_FINAL = frozenset(int(phase) for phase in ExecutionPhase if phase.terminal)


class Bell:
    """Rings when something that its owner watches has changed."""

    def __init__(self) -> None:
        self._rung = False
        self._urgent = False
        self._keys: set[int] = set()
        self._any = False
        self._closed = False
        self._asleep: asyncio.Future[None] | None = None
        """What the owner waits for now."""
        self._patient = False
        """Whether only what is urgent wakes it."""

    async def wait(self, seconds: float | None = None, pace_seconds: float = 0.0) -> None:
        """Returns when it rings, or after `seconds`, by default SAFETY_SECONDS.

        An end is told at once; of what goes on, nothing is told before `pace_seconds` have passed. Raises `Unavailable`
        when this replica stops.
        """
        if pace_seconds and not self._urgent:
            await self._sleep(pace_seconds, patient=True)
        if not self._rung:
            await self._sleep(SAFETY_SECONDS if seconds is None else seconds)
        if self._closed:
            raise Unavailable("this replica is stopping: ask again, another one will answer")
        self._rung = self._urgent = False

    def taken(self) -> set[int] | None:
        """What it has rung for since it was last asked; None when that may be anything."""
        keys, self._keys = self._keys, set()
        anything, self._any = self._any, False
        return None if anything else keys

    def ring(self, key: int, phase: int) -> None:
        """Wakes the owner, now or when it waits next: for this execution, which is in this phase."""
        if len(self._keys) >= MANY:
            self._any = True
        else:
            self._keys.add(key)
        self._rung = True
        if phase in _FINAL:
            self._urgent = True
        self._wake()

    def ring_for_all(self) -> None:
        """Wakes the owner for whatever may have changed."""
        self._any = self._rung = self._urgent = True
        self._wake()

    def close(self) -> None:
        """Wakes the owner for good."""
        self._closed = self._rung = self._urgent = True
        self._wake()

    async def _sleep(self, seconds: float, *, patient: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._asleep, self._patient = loop.create_future(), patient
        alarm = loop.call_later(seconds, _end, self._asleep)
        try:
            await self._asleep
        finally:
            alarm.cancel()
            self._asleep = None

    def _wake(self) -> None:
        if self._asleep is not None and (self._urgent or not self._patient):
            _end(self._asleep)


def _end(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)


class Hints:
    """Hands hints to the bells of those who watch."""

    def __init__(self) -> None:
        self._of: defaultdict[int, set[Bell]] = defaultdict(set)
        self._of_any: set[Bell] = set()
        self._heard: dict[int, object] = {}
        """Executions of whose end it was told first-hand, and not again since; the last `MANY`."""
        self._closed = False

    @contextmanager
    def bell(self, key: int | None = None) -> Iterator[Bell]:
        """A bell that rings for one execution, or for any, as long as the context is open."""
        bell = Bell()
        bells = self._of_any if key is None else self._of[key]
        bells.add(bell)
        if self._closed:
            bell.close()
        try:
            yield bell
        finally:
            bells.discard(bell)
            if key is not None and not bells:
                self._of.pop(key, None)

    def tell_first_hand(self, ends: Sequence[Hint]) -> None:
        """These executions have ended, says who has committed it. `tell` is told once more, which wakes nobody then."""
        heard = self._heard
        for key, _ in ends:
            heard[key] = None
        for key in list(islice(heard, max(0, len(heard) - MANY))):
            del heard[key]
        self._ring(ends)

    def tell(self, hints: Iterable[Hint]) -> None:
        """These executions have changed."""
        heard = self._heard
        if heard:
            hints = [hint for hint in hints if hint[1] not in _FINAL or heard.pop(hint[0], self) is self]
        self._ring(hints)

    def _ring(self, hints: Iterable[Hint]) -> None:
        if not self._of and not self._of_any:
            return
        for key, phase in hints:
            for bell in self._of.get(key, ()):
                bell.ring(key, phase)
            for bell in self._of_any:
                bell.ring(key, phase)

    def tell_all(self) -> None:
        """Hints were lost: anything may have changed."""
        for bell in self._bells():
            bell.ring_for_all()

    def close(self) -> None:
        """Ends all waiting, for ever: the replica stops."""
        self._closed = True
        for bell in self._bells():
            bell.close()

    @property
    def watchers(self) -> int:
        """How many wait for something now."""
        return len(self._bells())

    def _bells(self) -> list[Bell]:
        return [*self._of_any, *(bell for bells in self._of.values() for bell in bells)]
