"""What can be configured of the queue service: `AIRSCREW_QUEUE_<FIELD>`, shared ones `AIRSCREW_<FIELD>`."""

from __future__ import annotations

from dataclasses import dataclass


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

    stop_grace_seconds: float = 5.0
    """How long calls may take to end when the process is told to stop."""

    def __post_init__(self) -> None:
        if self.depth_keys < 1:
            raise ValueError("DEPTH_KEYS must be at least 1")
        if self.watcher_buffer_hints < 1:
            raise ValueError("WATCHER_BUFFER_HINTS must be at least 1")
