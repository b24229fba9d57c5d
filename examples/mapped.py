"""Maps: one task for each element of a list, with what is the same for all bound beforehand.

Some may fail: `min_success_ratio` says how many must not, and what failed is None. `concurrency` bounds how many run at
once. A launch plan can be mapped as well: then each element is an execution of its own.
"""

from functools import partial

from flytekit import LaunchPlan, map_task, task, workflow


@task
def scaled(x: float, by: float) -> float:
    return x * by


@task
def inverse(x: float) -> float:
    return 1 / x


@task
def known(values: list[float | None]) -> float:
    return sum(value for value in values if value is not None)


@workflow
def doubled(x: float) -> float:
    return scaled(x=x, by=2.0)


twice = LaunchPlan.get_or_create(doubled, "twice")


@workflow
def mapped(values: list[float], by: float) -> tuple[list[float], float, list[float]]:
    products = map_task(partial(scaled, by=by), concurrency=2)(x=values)
    inverses = map_task(inverse, min_success_ratio=0.5)(x=values)
    return products, known(values=inverses), map_task(twice)(x=[1.5, 2.5])
