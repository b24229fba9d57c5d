"""Who is told what a queue does. An observer is given to the innermost queue; the layers around it tell the same one.

It is told in the order in which things happen, each once, after the queue has changed, and must neither raise nor
touch the queue.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeVar

K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Observer(Protocol[K_contra]):
    """Is told what happens to keys."""

    def added(self, key: K_contra, now_us: int) -> None:
        """`key` needs processing and did not before: adds that collapse are not told."""

    def handed(self, key: K_contra, waited_us: int, now_us: int) -> None:
        """`key` is being processed from now on; it has waited so long."""

    def done(self, key: K_contra, now_us: int) -> None:
        """`key` is not being processed any more."""

    def retried(self, key: K_contra, now_us: int) -> None:
        """`key` was added with a delay, be it none, as every limited add is. Told before `added`, if that follows."""
