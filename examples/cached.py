"""Caching: a task's outputs are kept by its inputs and its cache version, and taken over when the same is asked again.

`cache_serialize` lets one node compute while others that ask the same wait for it. `cache_ignore_input_vars` are inputs
that make no difference.
"""

from flytekit import task, workflow


@task(cache=True, cache_version="1", cache_serialize=True, cache_ignore_input_vars=("label",))
def survey(field: str, label: str) -> str:
    return f"{field} has {len(field)} rows (asked for by {label})"


@workflow
def cached(field: str) -> tuple[str, str]:
    first = survey(field=field, label="Ada")
    second = survey(field=field, label="Ben")
    first >> second
    return first, second
