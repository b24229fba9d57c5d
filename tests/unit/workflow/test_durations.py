"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow.durations import duration_us
from libs.workflow.errors import InvalidArgument

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("5s", 5 * SECOND),
        ("500ms", SECOND // 2),
        ("1m", 60 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5s", 1_500_000),
        ("2d", 172_800 * SECOND),
        ("7us", 7),
    ],
)
def test_what_is_written(text: str, us: int) -> None:
    assert duration_us(text, "field") == us


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 s", "5s ", "1e3s", "5S", ".5s", "five", "9" * 100 + "s", "\u0665s"]
)
def test_what_is_no_duration_is_refused_with_the_name_of_the_field(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"spec\.x: .* is no duration: write it as 5s"):
        duration_us(text, "spec.x")


@pytest.mark.parametrize("text", ["0s", "0.1us", "61m", "9999999h"])
def test_what_is_none_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"spec\.x: .* is not between 1us and 1h"):
        duration_us(text, "spec.x", 3600 * SECOND)


@given(st.integers(1, 10**12))
def test_the_sum_of_the_parts_counts(us: int) -> None:
    text = f"{us // SECOND}s{us % SECOND}us"
    assert duration_us(text, "field") == us
