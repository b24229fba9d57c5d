"""What can be configured of the queue service: `AIRSCREW_QUEUE_<FIELD>`, shared ones `AIRSCREW_<FIELD>`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class QueueSettings:
    """The settings of the queue service."""

    listen: str
    """Where it serves: `host:port`; port 0 takes a free one."""

    depth_keys: int = 1_000_000
    """How many keys may wait, in all shards together. Beyond it Enqueue answers RESOURCE_EXHAUSTED and the leaders'
    sweep finds the work later. A key takes about 0.5 KB of memory."""

    watcher_buffer_hints: int = 10_000
    """How many hints a watcher may be behind before it is told that it missed some."""

    admin: str | None = None
    """Address of `admin`, `host:port`: where intakes are defined and executions created. None takes nothing in."""

    redis_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Passwords of the Redis servers that are taken in from: `host:port=password,…`."""

    intake_concurrency: int = 64
    """How many executions an intake creates at a time."""

    intake_lease_seconds: float = 10.0
    """How long after the last sign of life of the process that takes in another one may."""

    stop_grace_seconds: float = 5.0
    """How long calls may take to end when the process is told to stop."""

    def __post_init__(self) -> None:
        if self.depth_keys < 1:
            raise ValueError("DEPTH_KEYS must be at least 1")
        if self.watcher_buffer_hints < 1:
            raise ValueError("WATCHER_BUFFER_HINTS must be at least 1")
        if self.intake_concurrency < 1:
            raise ValueError("INTAKE_CONCURRENCY must be at least 1")
        if self.intake_lease_seconds <= 0:
            raise ValueError("INTAKE_LEASE_SECONDS must be positive")
