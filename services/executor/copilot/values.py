"""Values of simple types as the text of a file, both ways, in Go's notation as Flyte's co-pilot has them. Pure.

INTEGER 42 · FLOAT 1.5 · BOOLEAN true · STRING as it is · DATETIME 2024-01-02T03:04:05Z · DURATION 1h2m3.5s
STRUCT as JSON · NONE null
"""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import json_format, struct_pb2

from services.executor import templates

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|inf|infinity|nan)", re.I
)
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_PARTS: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PYTHONS: Final = re.compile(r"(?:(-?[0-9]+) days?, )?([0-9]+):([0-9]{2}):([0-9]{2}(?:\.[0-9]+)?)")
_SECOND: Final = 10**9
_MESSAGEPACK: Final = "msgpack"


def text(primitive: literals_pb2.Primitive) -> str:
    """A primitive as the content of its file."""
    if primitive.WhichOneof("value") == "float_value":
        return _float(primitive.float_value)
    return templates.text(literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive)))


def native(primitive: literals_pb2.Primitive) -> Any:
    """A primitive as JSON has it; a duration is a number of nanoseconds, as Go writes it there."""
    match primitive.WhichOneof("value"):
        case "integer":
            return primitive.integer
        case "float_value":
            finite = math.isfinite(primitive.float_value)
            return primitive.float_value if finite else _float(primitive.float_value)
        case "boolean":
            return primitive.boolean
        case "duration":
            return primitive.duration.seconds * _SECOND + primitive.duration.nanos
        case None:
            return None
        case _:
            return text(primitive)


def plain(struct: struct_pb2.Struct) -> Any:
    """A structure as JSON; whole numbers without a point, for it knows no integers."""
    return _whole(json_format.MessageToDict(struct))


def binary(value: bytes) -> str:
    """Bytes as JSON."""
    return base64.b64encode(value).decode()


def parse(kind: int, content: bytes) -> literals_pb2.Scalar:
    """What a file says where a value of a simple type is expected; white space around it does not count.

    Raises ValueError with the reason.
    """
    if kind == types_pb2.BINARY:
        return literals_pb2.Scalar(binary=literals_pb2.Binary(value=content, tag=_MESSAGEPACK))
    try:
        written = content.decode().strip(" \n\t\r")
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    match kind:
        case types_pb2.NONE:
            return literals_pb2.Scalar(none_type=literals_pb2.Void())
        case types_pb2.STRUCT:
            return literals_pb2.Scalar(generic=_struct(written))
        case types_pb2.ERROR:
            return literals_pb2.Scalar(error=types_pb2.Error(message=written))
    return literals_pb2.Scalar(primitive=_primitive(kind, written))


def _primitive(kind: int, written: str) -> literals_pb2.Primitive:
    match kind:
        case types_pb2.STRING:
            return literals_pb2.Primitive(string_value=written)
        case types_pb2.INTEGER:
            return literals_pb2.Primitive(integer=_integer(written))
        case types_pb2.FLOAT:
            if _FLOAT.fullmatch(written) is None:
                raise ValueError(f"is no number: {_shown(written)}")
            return literals_pb2.Primitive(float_value=float(written))
        case types_pb2.BOOLEAN:
            if written not in _TRUE | _FALSE:
                raise ValueError(f"is neither true nor false: {_shown(written)}")
            return literals_pb2.Primitive(boolean=written in _TRUE)
        case types_pb2.DATETIME:
            return _datetime(written)
        case types_pb2.DURATION:
            return _duration(written)
        case _:
            raise ValueError(f"cannot be a value of type {types_pb2.SimpleType.Name(kind)}")


def _integer(written: str) -> int:
    if _INTEGER.fullmatch(written) is None:
        raise ValueError(f"is no whole number: {_shown(written)}")
    number = int(written) if len(written) < 30 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"is no number of 64 bits: {_shown(written)}")
    return number


def _datetime(written: str) -> literals_pb2.Primitive:
    primitive = literals_pb2.Primitive()
    try:
        primitive.datetime.FromJsonString(written)
        return primitive
    except ValueError:
        pass
    try:  # as Python writes it; without a zone it is UTC
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(f"is no time such as 2024-01-02T03:04:05Z: {_shown(written)}") from None
    primitive.datetime.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return primitive


def _duration(written: str) -> literals_pb2.Primitive:
    primitive = literals_pb2.Primitive()
    unsigned = written.lstrip("+-") if written[:1] in ("+", "-") else written
    parts = _PARTS.findall(unsigned)
    if parts and "".join(number + unit for number, unit in parts) == unsigned:
        total = int(sum(Decimal(number) * _UNITS[unit] for number, unit in parts))
        seconds, nanos = divmod(total, _SECOND)
        sign = -1 if written.startswith("-") else 1
        primitive.duration.seconds, primitive.duration.nanos = sign * seconds, sign * nanos
    elif unsigned == "0":
        primitive.duration.SetInParent()
    elif match := _PYTHONS.fullmatch(written):  # str(timedelta), with which flytekit is content on a laptop
        days, hours, minutes, seconds_text = match.groups()
        primitive.duration.FromTimedelta(
            timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds_text))
        )
    else:
        raise ValueError(f"is no duration such as 1h2m3.5s: {_shown(written)}")
    return primitive


def _struct(written: str) -> struct_pb2.Struct:
    try:
        value = json.loads(written)
        if not isinstance(value, dict):
            raise ValueError("is no JSON object")
        struct = struct_pb2.Struct()
        struct.update(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON object: {error}") from None
    return struct


def _float(number: float) -> str:
    """All digits, no exponent."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    shown = format(Decimal(repr(number)), "f")
    return shown.removesuffix(".0")


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(each) for name, each in sorted(value.items())}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value


def _shown(written: str) -> str:
    return repr(written if len(written) <= 60 else f"{written[:60]}…")
