"""Limiters by the names that FlytePropeller's configuration has for them (`queue.queue.type`, `queue.sub-queue.type`).

    default     client-go's: the longer of doubling per key and a small bucket
    bucket      a bucket that counts a key once
    expfailure  doubling per key
    maxof       the longer of the two before

Every default is FlytePropeller's in code (`pkg/controller/config/config.go`), not that of its charts. One of them is
worth knowing: its base delay is nothing, so that `expfailure` and `maxof` do not back off unless told to.
"""

from __future__ import annotations

from typing import Literal, get_args

from libs.workqueue.buckets import DedupeBucket, TokenBucket
from libs.workqueue.items import K
from libs.workqueue.limiters import ItemExponential, Limiter, MaxOf, Undelayed

LimiterKind = Literal["default", "bucket", "expfailure", "maxof"]

# `queue.queue` and, but for the delays, `queue.sub-queue` in FlytePropeller's config.go.
BASE_DELAY_US = 0
MAX_DELAY_US = 60 * 1_000_000
RATE = 1_000
CAPACITY = 10_000

# `DefaultControllerRateLimiter` in client-go's util/workqueue/default_rate_limiters.go.
CLIENT_GO_BASE_DELAY_US = 5 * 1_000
CLIENT_GO_MAX_DELAY_US = 1_000 * 1_000_000
CLIENT_GO_RATE = 10
CLIENT_GO_CAPACITY = 100


def limiter(
    kind: LimiterKind,
    *,
    base_delay_us: int = BASE_DELAY_US,
    max_delay_us: int = MAX_DELAY_US,
    rate: int = RATE,
    capacity: int = CAPACITY,
) -> Limiter[K]:
    """A new limiter of a kind. What a kind has no use for is ignored, as in FlytePropeller.

    Args:
        base_delay_us: wait after the first return of a key; it doubles with each. 0: no wait, however many.
        max_delay_us: what doubling stops at.
        rate: returns per second, of all keys together.
        capacity: how many returns may come at once after a quiet time.

    Raises:
        ValueError: there is no such kind, or a value that it uses makes no sense.
    """
    match kind:
        case "default":
            return MaxOf(
                ItemExponential(CLIENT_GO_BASE_DELAY_US, CLIENT_GO_MAX_DELAY_US),
                TokenBucket(CLIENT_GO_RATE, CLIENT_GO_CAPACITY),
            )
        case "bucket":
            return DedupeBucket(rate, capacity)
        case "expfailure":
            return _doubling(base_delay_us, max_delay_us)
        case "maxof":
            return MaxOf(DedupeBucket(rate, capacity), _doubling(base_delay_us, max_delay_us))
    raise ValueError(f"kind: there is no limiter {kind!r}, only {', '.join(get_args(LimiterKind))}")


def _doubling(base_delay_us: int, max_delay_us: int) -> Limiter[K]:
    return Undelayed() if base_delay_us == 0 else ItemExponential(base_delay_us, max_delay_us)
