"""What can be configured of the queue service: `AIRSCREW_QUEUE_<FIELD>`, shared ones `AIRSCREW_<FIELD>`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

from libs.workqueue.composite import WHAT_IS_QUEUED, CompositeKind
from libs.workqueue.kinds import LimiterKind
from services.queue.line import Shape


@dataclass(frozen=True)
class QueueSettings:
    """The settings of the queue service."""

    listen: str
    """Where it serves: `host:port`; port 0 takes a free one."""

    depth_keys: int = 1_000_000
    """How many keys may wait, in all shards together. Beyond it Enqueue answers RESOURCE_EXHAUSTED and the leaders'
    sweep finds the work later. A key takes about 0.5 KB of memory."""

    retry_after_seconds: float = 1.0
    """When whoever is refused because of the depth is told to ask again."""

    type: str = "simple"
    """`simple`: what is enqueued can be handed out at once. `batch`: it gathers in a sub-queue and moves to the main
    queue at every interval, FlytePropeller's default: fewer turns for more latency."""

    batching_interval_seconds: float = 1.0
    """Of `batch`: from one batch to the next."""

    batch_size: int = -1
    """Of `batch`: how many keys move at a time at most; -1 is all that have gathered."""

    limiter: str = "maxof"
    """How long keys wait that come back from a lease, or that a batch moves: `default`, `bucket`, `expfailure` or
    `maxof`, as in FlytePropeller, and with its defaults below."""

    limiter_base_delay_seconds: float = 0.0
    """Of `expfailure` and `maxof`: the first wait of a key that comes back; it doubles each time. 0 is no wait."""

    limiter_max_delay_seconds: float = 60.0
    """… and what it grows to."""

    limiter_rate: int = 1_000
    """Of `bucket` and `maxof`: keys a second."""

    limiter_capacity: int = 10_000
    """… and how many may come at once after a quiet time."""

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
        if self.retry_after_seconds <= 0:
            raise ValueError("RETRY_AFTER_SECONDS must be positive")
        if self.type not in get_args(CompositeKind):
            raise ValueError(f"TYPE must be one of {', '.join(get_args(CompositeKind))}, not {self.type!r}")
        if self.limiter not in get_args(LimiterKind):
            raise ValueError(f"LIMITER must be one of {', '.join(get_args(LimiterKind))}, not {self.limiter!r}")
        if self.batching_interval_seconds < 0.001:
            raise ValueError("BATCHING_INTERVAL_SECONDS must be at least 0.001")
        if self.batch_size < 1 and self.batch_size != WHAT_IS_QUEUED:
            raise ValueError(f"BATCH_SIZE must be at least 1, or {WHAT_IS_QUEUED} for all that have gathered")
        if not 0 <= self.limiter_base_delay_seconds <= self.limiter_max_delay_seconds:
            raise ValueError("LIMITER_BASE_DELAY_SECONDS must not be negative, nor above LIMITER_MAX_DELAY_SECONDS")
        if self.limiter_rate < 1 or self.limiter_capacity < 1:
            raise ValueError("LIMITER_RATE and LIMITER_CAPACITY must be at least 1")
        if self.watcher_buffer_hints < 1:
            raise ValueError("WATCHER_BUFFER_HINTS must be at least 1")
        if self.intake_concurrency < 1:
            raise ValueError("INTAKE_CONCURRENCY must be at least 1")
        if self.intake_lease_seconds <= 0:
            raise ValueError("INTAKE_LEASE_SECONDS must be positive")

    @property
    def shape(self) -> Shape:
        """Of what kind the queues are."""
        return Shape(
            kind=cast(CompositeKind, self.type),
            interval_us=int(self.batching_interval_seconds * 1e6),
            batch_size=self.batch_size,
            limiter=cast(LimiterKind, self.limiter),
            base_delay_us=int(self.limiter_base_delay_seconds * 1e6),
            max_delay_us=int(self.limiter_max_delay_seconds * 1e6),
            rate=self.limiter_rate,
            capacity=self.limiter_capacity,
        )
