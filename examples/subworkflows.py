"""A workflow inside a workflow inside a workflow: promises go in and out like those of tasks."""

from flytekit import task, workflow


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow
def add_three(a: int, b: int, c: int) -> int:
    return add(a=add(a=a, b=b), b=c)


@workflow
def add_twice(a: int, b: int) -> tuple[int, int]:
    once = add_three(a=a, b=b, c=b)
    return once, add_three(a=once, b=b, c=1)


@workflow
def subworkflows(a: int, b: int) -> tuple[int, int, int]:
    once, twice = add_twice(a=a, b=b)
    return once, twice, add(a=once, b=twice)
