"""Dynamic workflows: a task that makes a workflow when it runs, from values that exist only then. They nest."""

from flytekit import dynamic, task, workflow


@task
def square(x: int) -> int:
    return x * x


@task
def add_up(values: list[int]) -> int:
    return sum(values)


@dynamic
def squares(count: int) -> int:
    return add_up(values=[square(x=x) for x in range(count)])


@dynamic
def pyramid(height: int) -> int:
    return add_up(values=[squares(count=level) for level in range(2, height + 1)])


@workflow
def generated(height: int) -> int:
    return pyramid(height=height)
