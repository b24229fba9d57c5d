"""What executions can be found by: their labels as (key, value), and their tags as (tag, nothing)."""

from __future__ import annotations

from collections.abc import Sequence

from flyteidl.admin import execution_pb2

from libs.store.launches import searchable
from libs.workflow.errors import InvalidArgument

_MAX_LENGTH = 255
"""Characters of a tag, or of a label's key or value: they stand in an index, whose entries the database limits."""


def of(spec: execution_pb2.ExecutionSpec) -> Sequence[tuple[str, str]]:
    """The pairs to be stored. Raises `InvalidArgument` for one that is unfit."""
    labels = spec.labels.values
    for key, value in labels.items():
        for text in (key, value):
            _fit(text, f"spec.labels[{key[:100]!r}]")
    for tag in spec.tags:
        _fit(tag, f"spec.tags[{tag[:100]!r}]")
    return searchable(spec)


def fit_text(text: str, field: str) -> None:
    """Refuses what a database can't store as text."""
    if "\0" in text:
        raise InvalidArgument(f"{field}: contains a NUL character")


def _fit(text: str, field: str) -> None:
    fit_text(text, field)
    if len(text) > _MAX_LENGTH:
        raise InvalidArgument(f"{field}: has {len(text)} characters, at most {_MAX_LENGTH} are allowed")
