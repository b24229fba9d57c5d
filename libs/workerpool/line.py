"""Who is next: jobs in the order in which they came, and bars that nobody behind them may pass.

Guarantees: `take` gives jobs strictly in the order of `put`, and none from behind a bar that is still down. A job that
is withdrawn is not given, is not counted from that moment on, and its memory is freed in time: withdrawn jobs never
make up more than half of a long line. Every operation but `lift` costs the same however long the line is, on average.

Nothing here waits or knows who runs the jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from libs.workerpool.futures import JobFuture

Job = Callable[..., Awaitable[Any]]

# Below this many withdrawn jobs, sweeping them out of the line is not worth a pass over it.
_FEW = 64


class Work:
    """A job in line. `future` is where its end is awaited, if at all; `context` what it runs in, if it matters."""

    __slots__ = ("args", "context", "future", "job", "withdrawn")

    def __init__(
        self, job: Job, args: tuple[Any, ...], context: Context | None, future: JobFuture[Any] | None = None
    ) -> None:
        self.job = job
        self.args = args
        self.context = context
        self.future = future
        self.withdrawn = False


class Bar:
    """A place in line that nobody passes until it is lifted."""

    __slots__ = ()


# A job that nobody waits for and that needs neither arguments nor a context stands in line by itself: no object is made
# for it. With millions of them that halves what a job costs, because the garbage collector looks at every object.
Entry = Job | Work


class Line:
    """Jobs, first come first served. `len` is how many jobs wait."""

    def __init__(self) -> None:
        self._entries: deque[Entry | Bar] = deque()
        self.put: Callable[[Entry], None] = self._entries.append
        """Puts a job at the end."""
        self._bars = 0
        self._withdrawn = 0

    def __len__(self) -> int:
        return len(self._entries) - self._bars - self._withdrawn

    @property
    def barred(self) -> bool:
        """Whether there is a bar: a job that comes now has to wait for it."""
        return self._bars > 0

    @property
    def ready(self) -> int:
        """How many jobs wait, if one could be taken; else 0."""
        if self._withdrawn:
            self._skip_withdrawn()
        return len(self) if self._entries and not isinstance(self._entries[0], Bar) else 0

    def take(self) -> Entry | None:
        """Takes the first job out, or None when nobody waits before the first bar."""
        if self._withdrawn:
            self._skip_withdrawn()
        if not self._entries:
            return None
        first = self._entries.popleft()
        if isinstance(first, Bar):
            self._entries.appendleft(first)
            return None
        return first

    def withdraw(self, work: Work) -> None:
        """Takes a job that waits out of turn."""
        work.withdrawn = True
        self._withdrawn += 1
        if self._withdrawn > _FEW and self._withdrawn * 2 > len(self._entries):
            self._keep([entry for entry in self._entries if not isinstance(entry, Work) or not entry.withdrawn])

    def clear(self) -> list[Entry]:
        """Takes all jobs out, bars stay. Returns the jobs in order."""
        jobs = [
            entry
            for entry in self._entries
            if not isinstance(entry, Bar) and not (isinstance(entry, Work) and entry.withdrawn)
        ]
        self._keep([entry for entry in self._entries if isinstance(entry, Bar)])
        return jobs

    def lower(self) -> Bar:
        """Puts a bar at the end."""
        bar = Bar()
        self._entries.append(bar)
        self._bars += 1
        return bar

    def lift(self, bar: Bar) -> None:
        """Takes a bar away. Costs a pass over what waits before it."""
        self._entries.remove(bar)
        self._bars -= 1

    def is_first(self, bar: Bar) -> bool:
        """Whether no job waits before the bar."""
        self._skip_withdrawn()
        return self._entries[0] is bar

    def _keep(self, entries: Iterable[Entry | Bar]) -> None:
        """Forgets all others, withdrawn ones among them."""
        self._entries.clear()
        self._entries.extend(entries)
        self._withdrawn = 0

    def _skip_withdrawn(self) -> None:
        while self._withdrawn and isinstance(first := self._entries[0], Work) and first.withdrawn:
            self._entries.popleft()
            self._withdrawn -= 1
