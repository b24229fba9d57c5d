"""A task that fails for good: the execution ends FAILED with its message, and what depends on the task never starts."""

from flytekit import task, workflow


@task
def check(amount: int) -> int:
    if amount < 0:
        raise ValueError(f"amount {amount} is below zero")
    return amount


@task
def spend(amount: int) -> int:
    return amount - 1


@workflow
def failing(amount: int = -1) -> int:
    return spend(amount=check(amount=amount))
