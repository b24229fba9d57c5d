"""The number of shards is fixed by whoever starts first."""

from __future__ import annotations

import asyncio

import pytest

from libs.store.installation import agree_on_shards
from libs.workflow.errors import FailedPrecondition


def test_whoever_is_first_fixes_the_number_and_another_is_refused_by_name(database_url: str) -> None:
    agree_on_shards(database_url, 4)
    agree_on_shards(database_url, 4)
    with pytest.raises(FailedPrecondition, match=r"AIRSCREW_SHARDS .* is 1, but this installation has 4"):
        agree_on_shards(database_url, 1)


async def test_of_services_that_start_at_once_with_different_numbers_one_number_wins(database_url: str) -> None:
    numbers = [1, 2] * 3
    tries = (asyncio.to_thread(agree_on_shards, database_url, number) for number in numbers)
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    agreed = {number for number, outcome in zip(numbers, outcomes, strict=True) if outcome is None}
    assert len(agreed) == 1
    assert all(outcome is None or isinstance(outcome, FailedPrecondition) for outcome in outcomes)
