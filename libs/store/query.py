"""Flyte's way to ask for a list: filters, a sort key, a limit and a token.

Filters are `function(field,value)`, joined by `+`; the functions on several values separate them by `;`. A `+` inside a
value (as in a time zone) is a `+`, unless what follows it looks like another filter. This module knows the grammar and
turns the written values into numbers and texts; which fields an entity has is said in `fields`, and the SQL is made in
`listing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum

from libs.workflow.errors import InvalidArgument

DEFAULT_LIMIT = 100
"""What a request without a limit gets: flytekit's own default."""

MAX_LIMIT = 10_000
"""Bounds the memory of one answer."""

SINGLE = frozenset({"eq", "ne", "gt", "gte", "lt", "lte", "contains", "not_like"})
REPEATED = frozenset({"value_in", "value_not_in"})
TEXT_ONLY = frozenset({"contains", "not_like"})

_SEPARATOR = re.compile(r"(?<=\))\s*\+(?=\s*\w+\()")
_FILTER = re.compile(r"\s*(\w+)\(\s*([\w.]+)\s*,\s?(.*)\)\s*", re.DOTALL)
_GO_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s))+")
_GO_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1, "µs": 1, "ns": 0.001}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks of a list, as written in its request.

    `project`, `domain` and `name` narrow the list where they are not empty. Without `sort_key` the order is the
    entity's own: newest first, or oldest first for what happens inside an execution. A `limit` of 0 is DEFAULT_LIMIT.
    """

    project: str = ""
    domain: str = ""
    name: str = ""
    filters: str = ""
    sort_key: str = ""
    descending: bool = True
    limit: int = 0
    token: str = ""

    @property
    def rows(self) -> int:
        """The limit that holds. Raises InvalidArgument for one that cannot."""
        if not 0 <= self.limit <= MAX_LIMIT:
            raise InvalidArgument(f"limit: {self.limit} is not between 1 and {MAX_LIMIT}")
        return self.limit or DEFAULT_LIMIT

    @property
    def offset(self) -> int:
        """Where the page begins. Raises InvalidArgument for a token that no list has given."""
        if not self.token:
            return 0
        if not (self.token.isascii() and self.token.isdigit()) or int(self.token) > _LARGEST_INTEGER:
            raise InvalidArgument(f"token: {self.token!r} was not given by a list")
        return int(self.token)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition, as written."""

    function: str
    field: str
    values: tuple[str, ...]


class Kind(Enum):
    """What the values of a field are, and how they are written."""

    TEXT = "a text"
    INTEGER = "a whole number"
    TIME = "an RFC 3339 time with a time zone, such as 2026-01-31T12:00:00Z"
    DURATION = "seconds, or a duration such as 1h30m"
    NAME = "a name or its number"


def parse(filters: str) -> list[Filter]:
    """The conditions in `filters`. Raises InvalidArgument for a text that is not of the grammar."""
    return [_parse_one(text) for text in _SEPARATOR.split(filters)] if filters.strip() else []


def value_of(kind: Kind, text: str, field: str, names: Mapping[str, int] | None = None) -> str | int:
    """The value that `text` means for a field of that kind: times and durations in microseconds, names as numbers.

    Raises InvalidArgument naming the field.
    """
    try:
        return _READERS[kind](text, names or {})
    except (ValueError, OverflowError, KeyError):
        known = f": one of {', '.join(names)}" if names else ""
        raise InvalidArgument(f"filters: {field}: {text!r} is not {kind.value}{known}") from None


def names_of(phases: type[IntEnum]) -> dict[str, int]:
    """The names of an enumeration with their numbers."""
    return {phase.name: phase.value for phase in phases}


def _parse_one(text: str) -> Filter:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"filters: {text!r} is not of the form function(field,value)")
    function, field, value = match.groups()
    if "\0" in value:
        raise InvalidArgument(f"filters: {field}: the value contains a NUL character")
    if function in REPEATED:
        return Filter(function, field, tuple(value.split(";")))
    if function in SINGLE:
        return Filter(function, field, (value,))
    raise InvalidArgument(f"filters: {function!r} is not a function: use one of {', '.join(sorted(SINGLE | REPEATED))}")


def _read_text(text: str, _names: Mapping[str, int]) -> str:
    return text


def _read_integer(text: str, _names: Mapping[str, int]) -> int:
    number = int(text)
    if abs(number) > _LARGEST_INTEGER:
        raise OverflowError
    return number


def _read_time(text: str, _names: Mapping[str, int]) -> int:
    time = datetime.fromisoformat(text.strip())
    if time.tzinfo is None:
        raise ValueError
    return (time - _EPOCH) // _MICROSECOND


def _read_duration(text: str, _names: Mapping[str, int]) -> int:
    if _GO_DURATION.fullmatch(text):
        return round(sum(float(number) * _MICROSECONDS[unit] for number, unit in _GO_DURATION_PART.findall(text)))
    return round(float(text) * _MICROSECONDS["s"])


def _read_name(text: str, names: Mapping[str, int]) -> int:
    text = text.strip()
    if text.isascii() and text.isdigit():
        if int(text) not in names.values():
            raise KeyError(text)
        return int(text)
    return names[text.upper()]


_READERS: Mapping[Kind, Callable[[str, Mapping[str, int]], str | int]] = {
    Kind.TEXT: _read_text,
    Kind.INTEGER: _read_integer,
    Kind.TIME: _read_time,
    Kind.DURATION: _read_duration,
    Kind.NAME: _read_name,
}
