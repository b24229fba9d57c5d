"""Passing on what has been committed, to whoever watches at the moment. Nothing is kept for anybody.

A watcher has a buffer of its own. One that does not keep up loses the oldest hints and is told so (`lagged`), because
it can always look at the store instead; nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from libs.rpc.stream import Batcher, WhenFull
from libs.wire.hints import Hint


class Watcher:
    """The buffer of somebody who watches."""

    def __init__(self, buffer_hints: int) -> None:
        self.hints: Batcher[Hint] = Batcher(buffer_hints, when_full=WhenFull.DROP_OLDEST)
        """What has gathered, as soon as something has."""
        self._publishers: set[str] = set()
        """Addresses of those who have published something since it was told last."""
        self._told_dropped = 0

    def lagged(self) -> bool:
        """Whether hints have been lost since this was asked last."""
        before, self._told_dropped = self._told_dropped, self.hints.dropped
        return self._told_dropped > before

    def tell(self, hints: Sequence[Hint], publisher: str) -> None:
        """Adds hints, at the cost of the oldest ones if there is no room."""
        self.hints.put_all(hints)
        if publisher:
            self._publishers.add(publisher)

    def publishers(self) -> set[str]:
        """Who has published something since this was asked last, of those who have an address."""
        publishers, self._publishers = self._publishers, set()
        return publishers


class Relay:
    """Hands every hint to every watcher.

    Args:
        buffer_hints: how many hints a watcher may be behind.
    """

    def __init__(self, buffer_hints: int) -> None:
        self._buffer_hints = buffer_hints
        self._watchers: set[Watcher] = set()

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    @contextmanager
    def watcher(self) -> Iterator[Watcher]:
        """Somebody who is told, as long as the context is open."""
        watcher = Watcher(self._buffer_hints)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def publish(self, hints: Sequence[Hint], publisher: str = "") -> None:
        """Tells all who watch now; who has no room for them loses the oldest ones."""
        for watcher in self._watchers:
            watcher.tell(hints, publisher)
