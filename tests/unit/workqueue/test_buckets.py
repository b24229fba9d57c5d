"""Limits for all keys together, and limiters by name."""

from __future__ import annotations

import pytest

from libs.workqueue import kinds
from libs.workqueue.buckets import DedupeBucket, TokenBucket
from libs.workqueue.limiters import ItemExponential, Limiter, MaxOf, Undelayed

SECOND = 1_000_000


def test_a_full_bucket_lets_its_capacity_through_at_once_and_the_rest_at_its_rate() -> None:
    bucket: TokenBucket[str] = TokenBucket(10, 3)
    assert [bucket.when_us("a", 0) for _ in range(5)] == [0, 0, 0, 100_000, 200_000]


def test_a_bucket_does_not_tell_keys_apart_and_forgets_nothing() -> None:
    bucket: TokenBucket[str] = TokenBucket(10, 1)
    assert bucket.when_us("a", 0) == 0
    bucket.forget("a", 0)
    assert bucket.when_us("b", 0) == 100_000 and bucket.retries("a") == 0


def test_a_bucket_saves_no_more_than_its_capacity() -> None:
    bucket: TokenBucket[str] = TokenBucket(10, 2)
    bucket.when_us("a", 0)
    assert [bucket.when_us("a", 3600 * SECOND) for _ in range(3)] == [0, 0, 100_000]


def test_a_token_that_is_not_whole_microseconds_away_is_never_early() -> None:
    bucket: TokenBucket[str] = TokenBucket(3, 1)
    assert [bucket.when_us("a", 0) for _ in range(4)] == [0, 333_334, 666_667, 1_000_000]


def test_a_key_that_waits_for_its_token_takes_no_other() -> None:
    bucket: DedupeBucket[str] = DedupeBucket(10, 1)
    assert bucket.when_us("a", 0) == 0
    assert bucket.when_us("a", 0) == 100_000
    assert bucket.when_us("a", 30_000) == 70_000
    assert bucket.when_us("b", 30_000) == 170_000


def test_a_key_whose_wait_is_over_takes_a_token() -> None:
    bucket: DedupeBucket[str] = DedupeBucket(10, 1)
    bucket.when_us("a", 0)
    bucket.when_us("a", 0)
    assert bucket.when_us("a", 100_000) == 100_000


def test_forgetting_a_key_does_not_end_its_wait() -> None:
    bucket: DedupeBucket[str] = DedupeBucket(10, 1)
    bucket.when_us("a", 0)
    bucket.when_us("a", 0)
    bucket.forget("a", 10_000)
    assert bucket.when_us("a", 10_000) == 90_000 and bucket.retries("a") == 0


def test_a_dedupe_bucket_remembers_no_key_whose_wait_is_over() -> None:
    bucket: DedupeBucket[int] = DedupeBucket(1000, 1)
    for key in range(10_000):
        bucket.when_us(key, key * 1000)
    bucket.forget(-1, 20 * SECOND)
    assert not bucket._due_us


@pytest.mark.parametrize(("rate", "capacity"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_would_never_let_anything_through_is_refused(rate: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="rate and capacity must be at least 1"):
        TokenBucket(rate, capacity)


def test_the_longest_wait_of_several_limiters_holds() -> None:
    both: MaxOf[str] = MaxOf(TokenBucket(10, 1), ItemExponential(60_000, SECOND))
    assert [both.when_us("a", 0) for _ in range(3)] == [60_000, 120_000, 240_000]
    assert both.when_us("b", 0) == 300_000


def test_several_limiters_all_forget() -> None:
    both: MaxOf[str] = MaxOf(ItemExponential(10, 100), ItemExponential(20, 100))
    both.when_us("a", 0)
    assert both.retries("a") == 1
    both.forget("a", 0)
    assert both.retries("a") == 0 and both.when_us("a", 0) == 20


def test_an_undelayed_key_is_counted_until_it_is_forgotten() -> None:
    limiter: Undelayed[str] = Undelayed()
    assert [limiter.when_us("a", 0), limiter.when_us("a", 0)] == [0, 0]
    assert limiter.retries("a") == 2 and limiter.retries("b") == 0
    limiter.forget("a", 0)
    assert limiter.retries("a") == 0


def test_the_default_limiter_is_client_gos() -> None:
    limiter: Limiter[str] = kinds.limiter("default")
    assert [limiter.when_us("a", 0) for _ in range(3)] == [5_000, 10_000, 20_000]
    others = [limiter.when_us(f"{n}", 0) for n in range(99)]
    assert others[:97] == [5_000] * 97 and others[97:] == [100_000, 200_000]


def test_the_bucket_limiter_counts_a_key_once() -> None:
    limiter: Limiter[str] = kinds.limiter("bucket", rate=10, capacity=1)
    assert [limiter.when_us(key, 0) for key in "aaab"] == [0, 100_000, 100_000, 200_000]


def test_flytepropellers_default_bucket_lets_ten_thousand_through_and_then_one_per_millisecond() -> None:
    limiter: Limiter[int] = kinds.limiter("bucket")
    waits = [limiter.when_us(key, 0) for key in range(10_002)]
    assert waits[:10_000] == [0] * 10_000 and waits[10_000:] == [1_000, 2_000]


def test_flytepropellers_default_base_delay_means_no_back_off() -> None:
    limiter: Limiter[str] = kinds.limiter("maxof")
    assert [limiter.when_us("a", 0) for _ in range(50)] == [0] * 50
    assert limiter.retries("a") == 50


def test_failures_double_to_the_maximal_delay() -> None:
    limiter: Limiter[str] = kinds.limiter("expfailure", base_delay_us=5 * SECOND, max_delay_us=12 * SECOND)
    assert [limiter.when_us("a", 0) for _ in range(3)] == [5 * SECOND, 10 * SECOND, 12 * SECOND]


def test_maxof_is_the_longer_of_failures_and_bucket() -> None:
    limiter: Limiter[str] = kinds.limiter("maxof", base_delay_us=60_000, rate=10, capacity=1)
    assert [limiter.when_us(key, 0) for key in "aab"] == [60_000, 120_000, 200_000]


def test_a_kind_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="kind: there is no limiter 'maxOf', only default, bucket"):
        kinds.limiter("maxOf")  # type: ignore[arg-type]
