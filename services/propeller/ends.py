"""Whom this replica tells of ends itself, beside the queue service that tells everybody.

What is committed is a hint on its way to watchers: by way of the queue service it is two messages and a process more,
which a client that waits for an end waits for too. So `admin` follows whoever publishes (`Propeller.Follow`), and hears
of ends at once. The queue service has them a little later, gathered: for replicas of `admin` that do not follow, and
for what is lost on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from libs.clients.queue import Publisher
from libs.rpc.stream import Batcher, WhenFull
from libs.wire.hints import Hint
from libs.workflow.errors import ResourceExhausted
from libs.workflow.phases import ExecutionPhase

BUFFER_HINTS: Final = 10_000
"""How many ends a follower may be behind; it loses the oldest ones, which the queue service tells."""

MOST_FOLLOWERS: Final = 48
"""Far more replicas of `admin` than anybody has: who else connects must not cost a leader its time."""

_FINAL = frozenset(int(phase) for phase in ExecutionPhase if phase.terminal)


class Ends:
    """Hints on their way out of this process. Belongs to the event loop."""

    def __init__(self, publisher: Publisher | None) -> None:
        """`publisher` is the way to the queue service, where there is one."""
        self._publisher = publisher
        self._followers: set[Batcher[Hint]] = set()
        self._closed = False

    def publish(self, hints: Iterable[Hint]) -> None:
        """These executions have changed and are in these phases now. Returns at once."""
        if self._followers:
            hints = list(hints)
            ended = [hint for hint in hints if hint[1] in _FINAL]
            for follower in self._followers:
                follower.put_all(ended)
        if self._publisher is not None:
            self._publisher.publish(hints, told=bool(self._followers))

    @contextmanager
    def follower(self) -> Iterator[Batcher[Hint]]:
        """The ends from now on, for somebody who follows as long as the context is open.

        Raises ResourceExhausted when there are `MOST_FOLLOWERS` already.
        """
        if len(self._followers) >= MOST_FOLLOWERS:
            raise ResourceExhausted(f"{MOST_FOLLOWERS} follow this replica already")
        follower: Batcher[Hint] = Batcher(BUFFER_HINTS, when_full=WhenFull.DROP_OLDEST)
        if self._closed:
            follower.close()
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def close(self) -> None:
        """Nothing more is told: those who follow hear what is left, and their streams end."""
        self._closed = True
        for follower in self._followers:
            follower.close()
