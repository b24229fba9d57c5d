"""What can be configured of the queues, and what cannot."""

from __future__ import annotations

import pytest

from libs import settings
from libs.workqueue.composite import WHAT_IS_QUEUED
from services.queue.line import Shape
from services.queue.settings import QueueSettings


def loaded(**environ: str) -> QueueSettings:
    named = {f"AIRSCREW_QUEUE_{name.upper()}": value for name, value in environ.items()}
    return settings.load(QueueSettings, "queue", named | {"AIRSCREW_LISTEN": "127.0.0.1:0"})


def test_by_default_nothing_gathers_and_limits_are_flytepropellers() -> None:
    shape = loaded().shape
    assert shape == Shape(kind="simple", interval_us=1_000_000, batch_size=WHAT_IS_QUEUED, limiter="maxof")
    assert (shape.base_delay_us, shape.max_delay_us, shape.rate, shape.capacity) == (0, 60_000_000, 1_000, 10_000)


def test_everything_can_be_said_by_the_names_that_flytepropeller_has_for_it() -> None:
    shape = loaded(
        type="batch",
        batching_interval_seconds="0.5",
        batch_size="100",
        limiter="expfailure",
        limiter_base_delay_seconds="0.25",
        limiter_max_delay_seconds="8",
        limiter_rate="10",
        limiter_capacity="20",
    ).shape
    assert shape == Shape("batch", 500_000, 100, "expfailure", 250_000, 8_000_000, 10, 20)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("type", "fifo", "TYPE must be one of simple, batch, not 'fifo'"),
        ("limiter", "none", "LIMITER must be one of default, bucket, expfailure, maxof, not 'none'"),
        ("batching_interval_seconds", "0", "BATCHING_INTERVAL_SECONDS"),
        ("batch_size", "0", "BATCH_SIZE must be at least 1, or -1 for all"),
        ("limiter_base_delay_seconds", "61", "LIMITER_BASE_DELAY_SECONDS must not be negative, nor above"),
        ("limiter_base_delay_seconds", "-1", "LIMITER_BASE_DELAY_SECONDS must not be negative, nor above"),
        ("limiter_rate", "0", "LIMITER_RATE and LIMITER_CAPACITY"),
        ("limiter_capacity", "0", "LIMITER_RATE and LIMITER_CAPACITY"),
        ("retry_after_seconds", "0", "RETRY_AFTER_SECONDS must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: str, complaint: str) -> None:
    with pytest.raises(settings.SettingsError, match=complaint):
        loaded(**{name: value})
