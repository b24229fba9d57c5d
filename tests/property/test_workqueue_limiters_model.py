"""The limiters against buckets that are filled one microsecond after the other, and against what a bucket promises."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.workqueue.buckets import DedupeBucket, TokenBucket
from libs.workqueue.limiters import ItemExponential, MaxOf

RATES = st.integers(20_000, 1_000_000)
"""A token in 1 to 50 µs, so that a model can count them in."""
CAPACITIES = st.integers(1, 5)
RETURNS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc"), st.booleans()), max_size=30)
"""Time since the return before, key, and whether it is forgotten first."""


class NaiveBucket:
    """Fills itself a microsecond at a time."""

    def __init__(self, rate: int, capacity: int) -> None:
        self.drop = Fraction(rate, 1_000_000)
        self.capacity = capacity
        self.tokens = Fraction(capacity)
        self.now = 0

    def when(self, now: int) -> int:
        while self.now < now:
            self.tokens = min(self.tokens + self.drop, Fraction(self.capacity))
            self.now += 1
        self.tokens -= 1
        wait, tokens = 0, self.tokens
        while tokens < 0:
            tokens += self.drop
            wait += 1
        return wait


class NaiveDedupeBucket:
    """Keeps every reservation that is not dropped by forgetting."""

    def __init__(self, rate: int, capacity: int) -> None:
        self.bucket = NaiveBucket(rate, capacity)
        self.reservations: dict[str, int] = {}

    def when(self, key: str, now: int) -> int:
        if self.reservations.get(key, now) <= now:
            self.reservations[key] = now + self.bucket.when(now)
        return self.reservations[key] - now

    def forget(self, key: str, now: int) -> None:
        if self.reservations.get(key, now + 1) <= now:
            del self.reservations[key]


@settings(deadline=None)
@given(RATES, CAPACITIES, RETURNS)
def test_a_bucket_is_as_one_that_is_filled_by_the_microsecond(
    rate: int, capacity: int, returns: list[tuple[int, str, bool]]
) -> None:
    bucket, naive, now = TokenBucket[str](rate, capacity), NaiveBucket(rate, capacity), 0
    for elapsed, key, _ in returns:
        now += elapsed
        assert bucket.when_us(key, now) == naive.when(now)


@settings(deadline=None)
@given(RATES, CAPACITIES, RETURNS)
def test_a_dedupe_bucket_is_as_one_that_keeps_every_reservation(
    rate: int, capacity: int, returns: list[tuple[int, str, bool]]
) -> None:
    bucket, naive, now = DedupeBucket[str](rate, capacity), NaiveDedupeBucket(rate, capacity), 0
    for elapsed, key, forgotten in returns:
        now += elapsed
        if forgotten:
            bucket.forget(key, now)
            naive.forget(key, now)
        assert bucket.when_us(key, now) == naive.when(key, now)
        assert dict(bucket._due_us) == {k: due for k, due in naive.reservations.items() if due > now}


@settings(deadline=None)
@given(st.integers(1, 1_000_000), CAPACITIES, st.lists(st.integers(0, 100_000), max_size=30))
def test_in_no_stretch_of_time_does_more_become_due_than_capacity_and_rate_allow(
    rate: int, capacity: int, gaps: list[int]
) -> None:
    bucket, now, dues = TokenBucket[str](rate, capacity), 0, []
    for gap in gaps:
        now += gap
        dues.append(now + bucket.when_us("a", now))
    assert dues == sorted(dues)
    for first, begin in enumerate(dues):
        for last in range(first, len(dues)):
            # Each due time is rounded up to a whole microsecond, the first one's rounding shortens the stretch.
            stretch = dues[last] - begin + 1
            assert last - first + 1 <= capacity + Fraction(stretch * rate, 1_000_000)


@given(RETURNS)
def test_max_of_is_the_maximum_of_its_members_asked_each_time(returns: list[tuple[int, str, bool]]) -> None:
    both = MaxOf[str](ItemExponential(3, 50), DedupeBucket(100_000, 2))
    doubling, bucket, now = ItemExponential[str](3, 50), NaiveDedupeBucket(100_000, 2), 0
    for elapsed, key, forgotten in returns:
        now += elapsed
        if forgotten:
            both.forget(key, now)
            doubling.forget(key, now)
            bucket.forget(key, now)
        assert both.when_us(key, now) == max(doubling.when_us(key, now), bucket.when(key, now))
        assert both.retries(key) == doubling.retries(key)
