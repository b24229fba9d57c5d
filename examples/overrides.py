"""Overrides: what a task says about itself can be said otherwise for one of its nodes."""

import os
from datetime import timedelta

from flytekit import Resources, task, workflow
from flytekit.exceptions.user import FlyteRecoverableException


@task(requests=Resources(cpu="2", mem="256Mi"), retries=0)
def measure(station: str) -> float:
    if os.environ.get("FLYTE_ATTEMPT_NUMBER") == "0":
        raise FlyteRecoverableException(f"station {station} does not answer")
    return len(station) * 2.5


@workflow
def overrides(station: str) -> float:
    return measure(station=station).with_overrides(
        node_name="the-measurement",
        retries=1,
        timeout=timedelta(minutes=5),
        requests=Resources(cpu="500m", mem="300Mi"),
    )
