"""A queue that somebody can stop for a while, and never for ever.

* While it is paused nothing is handed out. Everything else goes on: keys are added and collapse, delays end, those who
  have a key finish it, and waiting counts as waiting.
* A pause ends by itself: whoever paused may be gone. A new pause replaces the one before, be it longer or shorter.
* Shutting down ends a pause, and no other can begin: who waits for the end of a queue must not wait for a pause.

Not promised: that nothing is *processed* during a pause; what was handed out before it goes on.
"""

from __future__ import annotations

from libs.workqueue.items import Handed, K
from libs.workqueue.layer import Layer, Queue


class PausableQueue(Layer[K]):
    """A queue with `pause` and `resume`."""

    def __init__(self, queue: Queue[K]) -> None:
        super().__init__(queue)
        self._paused_until_us: int | None = None

    def pause(self, ttl_us: int, now_us: int) -> None:
        """Hands nothing out before `ttl_us` from now. Ignored when shutting down.

        Raises:
            ValueError: the time to live is not positive.
        """
        if ttl_us <= 0:
            raise ValueError(f"ttl_us: a pause must last more than {ttl_us} µs")
        if not self.shutting_down:
            self._paused_until_us = now_us + ttl_us

    def resume(self) -> None:
        """Ends the pause, if there is one."""
        self._paused_until_us = None

    @property
    def paused_until_us(self) -> int | None:
        """End of the pause; None when there is none. One that is over stays here until time is told again."""
        return self._paused_until_us

    def paused_us(self, now_us: int) -> int:
        """How long the pause will last at most; 0 when there is none."""
        return 0 if self._paused_until_us is None else max(self._paused_until_us - now_us, 0)

    def get(self, now_us: int) -> Handed[K] | None:
        if self._paused_until_us is not None:
            self.advance(now_us)
        return super().get(now_us) if self._paused_until_us is None else None

    def advance(self, now_us: int) -> None:
        super().advance(now_us)
        if self._paused_until_us is not None and self._paused_until_us <= now_us:
            self.resume()

    def next_due_us(self) -> int | None:
        """When to look again: when a delay ends, also in a pause; and when the pause ends, if something waits."""
        due_us = super().next_due_us()
        if self._paused_until_us is None or not len(self):
            return due_us
        return self._paused_until_us if due_us is None else min(due_us, self._paused_until_us)

    def shut_down(self) -> None:
        super().shut_down()
        self.resume()

    def shut_down_with_drain(self) -> None:
        super().shut_down_with_drain()
        self.resume()
