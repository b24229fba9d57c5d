"""A pause: nothing runs, and what comes waits until the pause is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from libs.workerpool.line import Bar


class Pause:
    """A pause of a pool, which lasts until `resume`, its deadline, or the pool's stop, whichever comes first.

    Leaving its `with` block resumes.
    """

    def __init__(self, bar: Bar, lift: Callable[[Pause], None], seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        self.bar = bar
        """Its place in line."""
        self.quiet: asyncio.Future[None] = loop.create_future()
        """Done when nothing runs and nothing that came before the pause waits."""
        self._lift = lift
        self._deadline = None if seconds is None else loop.call_later(seconds, self._expire, seconds)
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the pool works again, as far as this pause is concerned."""
        return self._over

    def resume(self) -> None:
        """Ends the pause. Does nothing when it is over."""
        if self._over:
            return
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._lift(self)

    def fail(self, error: Exception) -> None:
        """Ends the pause, and tells who waits for it to begin that it will not."""
        self.resume()
        if not self.quiet.done():
            self.quiet.set_exception(error)

    def _expire(self, seconds: float) -> None:
        self.fail(TimeoutError(f"the pool was not quiet within {seconds:g} s"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.resume()
