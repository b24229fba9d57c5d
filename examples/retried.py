"""A task that asks for another try: FlyteRecoverableException is retried, up to `retries` times.

Its first attempt says that the weather station does not answer. FLYTE_ATTEMPT_NUMBER is the number of the attempt; a
local run has no attempts and succeeds at once, with the same result.
"""

import os

from flytekit import task, workflow
from flytekit.exceptions.user import FlyteRecoverableException


@task(retries=2)
def measure(station: str) -> float:
    if os.environ.get("FLYTE_ATTEMPT_NUMBER") == "0":
        raise FlyteRecoverableException(f"station {station} does not answer")
    return len(station) * 1.5


@workflow
def retried(station: str = "Säntis") -> float:
    return measure(station=station)
