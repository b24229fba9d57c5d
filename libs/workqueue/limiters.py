"""How long a key that keeps coming back has to wait.

A limiter answers for every return of a key and remembers what it has to. It is told the time, because some limiters
(token buckets) depend on it, and it is told when to forget, because only the caller knows what a success is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from libs.workqueue.items import K

K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Limiter(Protocol[K_contra]):
    """Decides on delays."""

    def when_us(self, key: K_contra, now_us: int) -> int:
        """How long `key`, which comes back now, must wait. Counts as one more return."""

    def forget(self, key: K_contra, now_us: int) -> None:
        """`key` succeeded: its next return is a first one."""

    def retries(self, key: K_contra) -> int:
        """How often `key` has come back since it was last forgotten."""


class ItemExponential(Generic[K]):
    """Doubles per return of the same key: `min(base · 2ⁿ, cap)`, n being the returns before this one.

    Remembers a number per key until it is forgotten.
    """

    def __init__(self, base_us: int, cap_us: int) -> None:
        if not 0 < base_us <= cap_us:
            raise ValueError(f"base must be positive and not above the cap, not {base_us} µs and {cap_us} µs")
        self._base_us = base_us
        self._cap_us = cap_us
        self._doublings = (cap_us // base_us).bit_length()
        """From so many on the cap holds; keeps the power of two small for keys that come back for ever."""
        self._returns: dict[K, int] = {}

    def when_us(self, key: K, now_us: int) -> int:
        returns = self._returns.get(key, 0)
        self._returns[key] = returns + 1
        return min(self._base_us << min(returns, self._doublings), self._cap_us)

    def forget(self, key: K, now_us: int) -> None:
        self._returns.pop(key, None)

    def retries(self, key: K) -> int:
        return self._returns.get(key, 0)


class Undelayed(Generic[K]):
    """Never delays, and counts returns all the same: what a base delay of nothing makes of doubling."""

    def __init__(self) -> None:
        self._returns: dict[K, int] = {}

    def when_us(self, key: K, now_us: int) -> int:
        self._returns[key] = self._returns.get(key, 0) + 1
        return 0

    def forget(self, key: K, now_us: int) -> None:
        self._returns.pop(key, None)

    def retries(self, key: K) -> int:
        return self._returns.get(key, 0)


class MaxOf(Generic[K]):
    """The longest wait of several limiters. Each of them is asked every time, and told to forget."""

    def __init__(self, first: Limiter[K], *others: Limiter[K]) -> None:
        self._limiters = (first, *others)

    def when_us(self, key: K, now_us: int) -> int:
        return max([limiter.when_us(key, now_us) for limiter in self._limiters])

    def forget(self, key: K, now_us: int) -> None:
        for limiter in self._limiters:
            limiter.forget(key, now_us)

    def retries(self, key: K) -> int:
        return max(limiter.retries(key) for limiter in self._limiters)
