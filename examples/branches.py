"""Branches: which task runs is decided by what others have computed. One arm may be an error; branches nest."""

from flytekit import conditional, task, workflow


@task
def area(width: float, height: float) -> float:
    return width * height


@task
def describe(what: str, area: float) -> str:
    return f"{what} of {area:g}"


@workflow
def branches(width: float, height: float, fenced: bool = False) -> str:
    size = area(width=width, height=height)
    return (
        conditional("size")
        .if_(size > 100.0)
        .then(
            conditional("fence")
            .if_(fenced.is_true())
            .then(describe(what="a park", area=size))
            .else_()
            .then(describe(what="a field", area=size))
        )
        .elif_((size > 0.0) & (width == height))
        .then(describe(what="a square", area=size))
        .elif_(size > 0.0)
        .then(describe(what="a bed", area=size))
        .else_()
        .fail("there is nothing to plant on")
    )
