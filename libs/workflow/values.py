"""What people and programs write, as a literal of the type that is wanted; `InvalidArgument` for what is none.

Plain texts for plain types (`3`, `0.5`, `true`, `2026-01-31T12:00:00Z`, `1h30m`, an address for a file); JSON for
lists, maps, structures and whatever else is nested. Inside JSON a value of a plain type is written the same way, as a
string or as JSON's own kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import json_format

from libs.workflow import types
from libs.workflow.errors import InvalidArgument

_SIMPLE: Final = types_pb2.SimpleType
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_UNIT_US: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_NOT_IT: Final = (
    *(ValueError, TypeError, KeyError, OverflowError, AttributeError),
    *(RecursionError, json_format.ParseError),
)
"""What reading a value raises when it is none of its type."""
_SHOWN: Final = 100
"""Characters of a wrong value that an error repeats."""
_TRUTH: Final = {"true": True, "yes": True, "false": False, "no": False}


def of_text(text: str, wanted: types_pb2.LiteralType, zone: tzinfo | None = UTC) -> literals_pb2.Literal:
    """The literal that `text` means for that type. A time without zone is one of `zone`; None is this machine's."""
    try:
        return _literal(_read(text, wanted), wanted, zone)
    except _NOT_IT:
        raise InvalidArgument(f"{text[:_SHOWN]!r} is not {_in_words(wanted)}") from None


def of_json(value: Any, wanted: types_pb2.LiteralType, zone: tzinfo | None = UTC) -> literals_pb2.Literal:
    """The literal that a value read from JSON means for that type."""
    try:
        return _literal(value, wanted, zone)
    except _NOT_IT:
        raise InvalidArgument(f"{_shown(value)} is not {_in_words(wanted)}") from None


def _read(text: str, wanted: types_pb2.LiteralType) -> Any:
    """JSON where only JSON can say it; else the text itself."""
    if wanted.WhichOneof("type") in ("collection_type", "map_value_type"):
        return json.loads(text)
    return text


def _literal(value: Any, wanted: types_pb2.LiteralType, zone: tzinfo | None) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    match wanted.WhichOneof("type"):
        case "simple":
            _SIMPLES[wanted.simple](value, literal.scalar, zone)
        case "enum_type":
            if value not in wanted.enum_type.values:
                raise ValueError
            literal.scalar.primitive.string_value = value
        case "collection_type":
            literal.collection.literals.extend(
                _literal(item, wanted.collection_type, zone) for item in _of(list, value)
            )
            literal.collection.SetInParent()
        case "map_value_type":
            for key, item in _of(dict, value).items():
                literal.map.literals[key].CopyFrom(_literal(item, wanted.map_value_type, zone))
            literal.map.SetInParent()
        case "union_type":
            _union(value, wanted.union_type, literal.scalar.union, zone)
        case "blob":
            literal.scalar.blob.uri = _of(str, value)
            literal.scalar.blob.metadata.type.CopyFrom(wanted.blob)
        case _:
            raise ValueError
    return literal


def _union(value: Any, wanted: types_pb2.UnionType, union: literals_pb2.Union, zone: tzinfo | None) -> None:
    """The first variant that takes the value; texts come last, because they take everything."""
    for variant in sorted(wanted.variants, key=lambda one: one.simple == _SIMPLE.STRING):
        try:
            given = _read(value, variant) if isinstance(value, str) else value
            union.value.CopyFrom(_literal(given, variant, zone))
        except _NOT_IT:
            continue
        union.type.CopyFrom(variant)
        return
    raise ValueError


def _integer(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    if isinstance(value, bool | float):
        raise ValueError
    scalar.primitive.integer = int(value)


def _float(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    if isinstance(value, bool):
        raise ValueError
    scalar.primitive.float_value = float(value)


def _string(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    scalar.primitive.string_value = _of(str, value)


def _boolean(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    scalar.primitive.boolean = value if isinstance(value, bool) else _TRUTH[value.lower()]


def _datetime(value: Any, scalar: literals_pb2.Scalar, zone: tzinfo | None) -> None:
    moment = datetime.fromisoformat(_of(str, value))
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    scalar.primitive.datetime.FromDatetime(moment.astimezone(UTC).replace(tzinfo=None))


def _duration(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    if isinstance(value, str) and _DURATION.fullmatch(value):
        total_us = sum(float(number) * _UNIT_US[unit] for number, unit in _DURATION_PART.findall(value))
    else:
        total_us = float(value) * _UNIT_US["s"]
    scalar.primitive.duration.FromMicroseconds(round(total_us))


def _none(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    if value not in (None, "null", "none"):
        raise ValueError
    scalar.none_type.SetInParent()


def _structure(value: Any, scalar: literals_pb2.Scalar, _: object) -> None:
    scalar.generic.SetInParent()
    json_format.ParseDict(_of(dict, json.loads(value) if isinstance(value, str) else value), scalar.generic)


_SIMPLES: Final[Mapping[int, Callable[[Any, literals_pb2.Scalar, tzinfo | None], None]]] = {
    _SIMPLE.INTEGER: _integer,
    _SIMPLE.FLOAT: _float,
    _SIMPLE.STRING: _string,
    _SIMPLE.BOOLEAN: _boolean,
    _SIMPLE.DATETIME: _datetime,
    _SIMPLE.DURATION: _duration,
    _SIMPLE.NONE: _none,
    _SIMPLE.STRUCT: _structure,
}


def _in_words(wanted: types_pb2.LiteralType) -> str:
    if wanted.WhichOneof("type") == "enum_type":
        return f"one of {', '.join(wanted.enum_type.values)}"
    return types.describe(wanted)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError
    return value
