"""Limits for all keys together: tokens that come at a rate, up to a number that can be saved.

Guaranteed: in no stretch of time do more keys become due than `capacity` and what came in at `rate` meanwhile. Exact,
because tokens are counted in millionths: a rate per second makes whole ones of them per microsecond.

Not promised: fairness between keys, which is the lanes' business; nor any wait for failures.

A token is spent when the wait is decided, not when it is over (client-go's *reserve*): there is no giving back.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic

from libs.workqueue.items import K

_TOKEN = 1_000_000
"""Parts of a token, so that `rate` tokens per second are `rate` parts per microsecond."""


class TokenBucket(Generic[K]):
    """Each return costs a token, whoever returns. Full at the start; `forget` and `retries` know nothing.

    Args:
        rate: tokens per second.
        capacity: how many can be saved.
    """

    def __init__(self, rate: int, capacity: int) -> None:
        if rate < 1 or capacity < 1:
            raise ValueError(f"rate and capacity must be at least 1, not {rate} per second and {capacity}")
        self._rate = rate
        self._full = capacity * _TOKEN
        self._level = self._full
        """Parts of tokens that there were at `_at_us`; below zero when tokens to come are spent already."""
        self._at_us: int | None = None

    def when_us(self, key: K, now_us: int) -> int:
        self._level = self._level_at(now_us) - _TOKEN
        self._at_us = now_us
        # Rounded up: never early.
        return max(-(self._level // self._rate), 0)

    def forget(self, key: K, now_us: int) -> None:
        pass

    def retries(self, key: K) -> int:
        return 0

    def _level_at(self, now_us: int) -> int:
        elapsed_us = 0 if self._at_us is None else now_us - self._at_us
        return min(self._level + elapsed_us * self._rate, self._full)


class DedupeBucket(Generic[K]):
    """A token bucket that counts a key once: while a key's wait goes on, its further returns wait for the same moment.

    FlytePropeller's own limiter, made so that the several reasons to look at a workflow do not each cost a token. As
    there, forgetting does not end a wait. Remembers the keys whose wait goes on, and no others.
    """

    def __init__(self, rate: int, capacity: int) -> None:
        self._bucket: TokenBucket[K] = TokenBucket(rate, capacity)
        self._due_us: OrderedDict[K, int] = OrderedDict()
        """When the wait of each key is over; earliest first, as a bucket gives its tokens in order."""

    def when_us(self, key: K, now_us: int) -> int:
        self._drop_over(now_us)
        due_us = self._due_us.get(key)
        if due_us is not None:
            return due_us - now_us
        wait_us = self._bucket.when_us(key, now_us)
        if wait_us > 0:
            self._due_us[key] = now_us + wait_us
        return wait_us

    def forget(self, key: K, now_us: int) -> None:
        self._drop_over(now_us)

    def retries(self, key: K) -> int:
        return 0

    def _drop_over(self, now_us: int) -> None:
        while self._due_us and next(iter(self._due_us.values())) <= now_us:
            self._due_us.popitem(last=False)
