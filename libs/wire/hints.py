"""Hints: what a leader publishes after a commit and watchers hear, the same on either side of the queue service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from protos import queue_pb2


class Hint(NamedTuple):
    """An execution has changed."""

    id: int
    phase: int
    """Its phase after the commit (`ExecutionPhase`)."""


class News(NamedTuple):
    """What a watcher is told at once."""

    hints: list[Hint]
    lagged: bool
    """Whether others may have been missed before these: look at everything that matters again."""


def to_messages(hints: Iterable[Hint]) -> list[queue_pb2.Hint]:
    return [queue_pb2.Hint(id=hint.id, phase=hint.phase) for hint in hints]


def of_messages(messages: Iterable[queue_pb2.Hint]) -> list[Hint]:
    return [Hint(message.id, message.phase) for message in messages]
