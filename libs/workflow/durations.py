"""Lengths of time as people write them in configuration: `5s`, `500ms`, `1m`, `1h30m`."""

from __future__ import annotations

import re
from decimal import Decimal

from libs.workflow.errors import InvalidArgument

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_UNITS_US = {"us": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
_LONGEST_US = 10 * 365 * _UNITS_US["d"]
_LONGEST_TEXT = 64


def duration_us(text: str, field: str, longest_us: int = _LONGEST_US) -> int:
    """Microseconds, more than none. Raises InvalidArgument naming the field."""
    if len(text) > _LONGEST_TEXT or _WHOLE.fullmatch(text) is None:
        raise InvalidArgument(f"{field}: {text[:_LONGEST_TEXT]!r} is no duration: write it as 5s, 500ms, 1m or 1h30m")
    total = int(sum(Decimal(number) * _UNITS_US[unit] for number, unit in _PART.findall(text)))
    if not 0 < total <= longest_us:
        raise InvalidArgument(f"{field}: {text!r} is not between 1us and {_shown(longest_us)}")
    return total


def _shown(us: int) -> str:
    unit = next(unit for unit in reversed(_UNITS_US) if us % _UNITS_US[unit] == 0)
    return f"{us // _UNITS_US[unit]}{unit}"
