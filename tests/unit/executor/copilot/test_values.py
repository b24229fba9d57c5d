"""Values of simple types as the text of files, both ways."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import struct_pb2

from services.executor.copilot import values

Primitive = literals_pb2.Primitive


def at(*parts: int, nanos: int = 0) -> Primitive:
    primitive = Primitive()
    primitive.datetime.FromDatetime(datetime(*parts, tzinfo=UTC))  # type: ignore[arg-type,misc]
    primitive.datetime.nanos = nanos
    return primitive


def lasting(**parts: float) -> Primitive:
    primitive = Primitive()
    primitive.duration.FromTimedelta(timedelta(**parts))
    return primitive


# What Go's strconv, time.RFC3339Nano and time.Duration.String make of them, as Flyte's co-pilot does.
WRITTEN = [
    (Primitive(integer=-(2**63)), "-9223372036854775808"),
    (Primitive(float_value=1.5), "1.5"),
    (Primitive(float_value=3.0), "3"),
    (Primitive(float_value=1e21), "1000000000000000000000"),
    (Primitive(float_value=1e-7), "0.0000001"),
    (Primitive(float_value=math.inf), "+Inf"),
    (Primitive(float_value=math.nan), "NaN"),
    (Primitive(boolean=True), "true"),
    (Primitive(boolean=False), "false"),
    (Primitive(string_value=" as it is\n"), " as it is\n"),
    (at(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05Z"),
    (at(2024, 1, 2, nanos=120_000_000), "2024-01-02T00:00:00.12Z"),
    (lasting(hours=1, minutes=2, seconds=3.5), "1h2m3.5s"),
    (lasting(milliseconds=-1.5), "-1.5ms"),
    (lasting(), "0s"),
]


@pytest.mark.parametrize(("primitive", "written"), WRITTEN, ids=[written for _, written in WRITTEN])
def test_a_primitive_is_written_as_go_writes_it_and_read_back(primitive: Primitive, written: str) -> None:
    assert values.text(primitive) == written
    kind = {
        "integer": types_pb2.INTEGER,
        "float_value": types_pb2.FLOAT,
        "boolean": types_pb2.BOOLEAN,
        "string_value": types_pb2.STRING,
        "datetime": types_pb2.DATETIME,
        "duration": types_pb2.DURATION,
    }[primitive.WhichOneof("value")]
    back = values.parse(kind, written.encode()).primitive
    if primitive.string_value:
        assert back.string_value == "as it is", "white space around a value does not count"
    elif math.isnan(primitive.float_value):
        assert math.isnan(back.float_value)
    else:
        assert back == primitive


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        (types_pb2.INTEGER, b" +7\n", Primitive(integer=7)),
        (types_pb2.FLOAT, b"1e3", Primitive(float_value=1000)),
        (types_pb2.FLOAT, b".5", Primitive(float_value=0.5)),
        (types_pb2.FLOAT, b"-inf", Primitive(float_value=-math.inf)),
        (types_pb2.BOOLEAN, b"T", Primitive(boolean=True)),
        (types_pb2.BOOLEAN, b"0", Primitive(boolean=False)),
        (types_pb2.DATETIME, b"2024-01-02T05:04:05+02:00", at(2024, 1, 2, 3, 4, 5)),
        (types_pb2.DATETIME, b"2024-01-02 03:04:05", at(2024, 1, 2, 3, 4, 5)),
        (types_pb2.DURATION, b"1m30s", lasting(seconds=90)),
        (types_pb2.DURATION, b"-1.5h", lasting(hours=-1.5)),
        (types_pb2.DURATION, b"1 day, 2:03:04.5", lasting(days=1, hours=2, minutes=3, seconds=4.5)),
    ],
)
def test_what_people_and_programs_write_is_understood(kind: int, content: bytes, expected: Primitive) -> None:
    assert values.parse(kind, content).primitive == expected


def test_other_simple_types() -> None:
    assert values.parse(types_pb2.NONE, b"anything").HasField("none_type")
    assert values.parse(types_pb2.BINARY, b"\x00 ").binary.value == b"\x00 "
    assert values.parse(types_pb2.ERROR, b"broken").error.message == "broken"
    struct = values.parse(types_pb2.STRUCT, b'{"a": [1, 2.5], "b": null}').generic
    assert values.plain(struct) == {"a": [1, 2.5], "b": None}


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        (types_pb2.INTEGER, b"1_000", "is no whole number: '1_000'"),
        (types_pb2.INTEGER, b"1.0", "is no whole number"),
        (types_pb2.INTEGER, b"9223372036854775808", "is no number of 64 bits"),
        (types_pb2.INTEGER, b"", "is no whole number: ''"),
        (types_pb2.FLOAT, b"1_0", "is no number"),
        (types_pb2.BOOLEAN, b"yes", "is neither true nor false"),
        (types_pb2.DATETIME, b"tomorrow", "is no time"),
        (types_pb2.DURATION, b"1 hour", "is no duration"),
        (types_pb2.DURATION, b"1h junk", "is no duration"),
        (types_pb2.STRUCT, b"[1]", "is no JSON object"),
        (types_pb2.STRUCT, b"{", "is no JSON object"),
        (types_pb2.STRING, b"\xff", "is no text in UTF-8"),
    ],
)
def test_what_is_no_value_is_refused_with_the_reason(kind: int, content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        values.parse(kind, content)


@pytest.mark.parametrize(
    ("primitive", "shown"),
    [
        (Primitive(integer=7), 7),
        (Primitive(float_value=1.5), 1.5),
        (Primitive(float_value=math.inf), "+Inf"),
        (Primitive(boolean=False), False),
        (Primitive(string_value="s"), "s"),
        (at(2024, 1, 2), "2024-01-02T00:00:00Z"),
        (lasting(seconds=1.5), 1_500_000_000),
        (Primitive(), None),
    ],
)
def test_in_json_a_duration_is_nanoseconds_and_a_time_is_text(primitive: Primitive, shown: Any) -> None:
    assert values.native(primitive) == shown


def test_a_structure_has_no_integers_but_shows_them() -> None:
    struct = struct_pb2.Struct()
    struct.update({"n": 3, "inner": {"x": [1.0, 1.5]}})
    assert repr(values.plain(struct)) == "{'inner': {'x': [1, 1.5]}, 'n': 3}"
