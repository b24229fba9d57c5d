"""Hints: what a leader publishes after a commit and watchers hear, the same on either side of the queue service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

Hint = tuple[int, int]
"""The key of an execution that has changed, and its phase after the commit (`ExecutionPhase`). They come by the
thousand, so they are nothing but pairs."""


class News(NamedTuple):
    """What a watcher is told at once."""

    hints: list[Hint]
    lagged: bool
    """Whether others may have been missed before these: look at everything that matters again."""


class Message(Protocol):
    """A message that carries hints."""

    @property
    def ids(self) -> Iterable[int]: ...

    @property
    def phases(self) -> Iterable[int]: ...


def hints_in(message: Message) -> list[Hint]:
    """What a message carries."""
    return list(zip(message.ids, message.phases, strict=False))
