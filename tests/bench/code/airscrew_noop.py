"""The smallest flytekit tasks there are, for measuring what surrounds them."""

from __future__ import annotations

from flytekit import task


@task
def noop(x: int) -> int:
    """Gives back what it gets."""
    return x


@task
def total(xs: list[int]) -> int:
    """Reduces what many tasks returned."""
    return sum(xs)
