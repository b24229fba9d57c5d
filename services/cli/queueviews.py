"""What `airscrew queue` shows, decoded: plain values, as in `views`. Times are microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from libs.workflow.identity import ExecutionId


@dataclass(frozen=True, slots=True)
class Lane:
    """How many wait in a lane of a priority."""

    priority: int
    lane: str
    waiting: int


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, over all times that it happened."""

    count: int
    total_us: int
    longest_us: int

    @property
    def mean_us(self) -> float:
        return self.total_us / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Shard:
    """The queue of one shard."""

    shard: int
    propeller: str
    """Who takes its keys; empty when nobody does."""
    epoch: int
    waiting: int
    gathering: int
    delayed: int
    leased: int
    oldest_us: int
    paused_us: int
    """How long nothing will be handed out; 0 when nothing holds it back."""
    added: int
    collapsed: int
    delivered: int
    redelivered: int
    retries: int
    queue_latency: Durations
    work_duration: Durations
    longest_running_us: int
    lanes: Sequence[Lane]


@dataclass(frozen=True, slots=True)
class Queue:
    """The whole queue service."""

    depth: int
    limit: int
    shards: Sequence[Shard]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key in the queue."""

    execution: ExecutionId | None
    """None when the store does not know it."""
    key: int
    shard: int
    state: str
    age_us: int
    due_us: int
    """Of what is delayed: how long it has to wait yet."""
    lane: str
    priority: int
    reasons: Sequence[str]
    retries: int
    propeller: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"execution": str(self.execution) if self.execution else None}
