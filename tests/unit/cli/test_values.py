"""What people type becomes a literal that the signal's type takes."""

from __future__ import annotations

import pytest
from flyteidl.core import literals_pb2, types_pb2

from libs.workflow import types
from services.cli import values
from services.cli.names import UsageError
from tests.support.flytetypes import BOOLEAN, FLOAT, INTEGER, NONE, STRING, listed, mapped, union, value

DATETIME = types_pb2.LiteralType(simple=types_pb2.DATETIME)
DURATION = types_pb2.LiteralType(simple=types_pb2.DURATION)
STRUCT = types_pb2.LiteralType(simple=types_pb2.STRUCT)
COLOUR = types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=["red", "green"]))
FILE = types_pb2.LiteralType(blob=types_pb2.BlobType(format="csv"))
OPTIONAL = union(INTEGER, NONE)

FITTING = [
    ("3", INTEGER, value(3)),
    ("-3", INTEGER, value(-3)),
    ("3", FLOAT, value(3.0)),
    ("1e-3", FLOAT, value(0.001)),
    ("3", STRING, value("3")),
    ("", STRING, value("")),
    ("true", BOOLEAN, value(True)),
    ("No", BOOLEAN, value(False)),
    ("[1, 2]", listed(INTEGER), value([1, 2])),
    ("[]", listed(INTEGER), value([])),
    ('{"a": [0.5]}', mapped(listed(FLOAT)), value({"a": [0.5]})),
]


@pytest.mark.parametrize(("text", "wanted", "meant"), FITTING)
def test_a_text_is_read_by_the_type_that_is_wanted(
    text: str, wanted: types_pb2.LiteralType, meant: literals_pb2.Literal
) -> None:
    assert values.parse(text, wanted) == meant


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("1d", 86_400)]
)
def test_durations_are_seconds_or_have_units(text: str, seconds: float) -> None:
    found = values.parse(text, DURATION).scalar.primitive.duration
    assert found.ToMicroseconds() == seconds * 1_000_000


def test_times_are_of_their_zone() -> None:
    found = values.parse("2026-01-31T12:00:00+02:00", DATETIME).scalar.primitive.datetime
    assert found.ToJsonString() == "2026-01-31T10:00:00Z"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3", OPTIONAL),
        ("null", OPTIONAL),
        ("blue", union(STRING, INTEGER)),
        ("3", union(STRING, INTEGER)),
        ("[1]", union(listed(INTEGER), NONE)),
        ("green", COLOUR),
        ("s3://bucket/table.csv", FILE),
        ('{"a": {"b": [1, null]}}', STRUCT),
        ('[{"a": 1}]', listed(STRUCT)),
    ],
)
def test_whatever_is_read_is_of_the_type(text: str, wanted: types_pb2.LiteralType) -> None:
    assert types.validate(values.parse(text, wanted), wanted, "value") == []


def test_a_number_for_a_union_with_texts_is_the_number() -> None:
    assert values.parse("3", union(STRING, INTEGER)).scalar.union.value == value(3)


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("three", INTEGER, "INTEGER"),
        ("1.5", INTEGER, "INTEGER"),
        ("[1, true]", listed(INTEGER), "LIST"),
        ("{}", listed(INTEGER), "LIST"),
        ("maybe", BOOLEAN, "BOOLEAN"),
        ("soon", DATETIME, "DATETIME"),
        ("5 fortnights", DURATION, "DURATION"),
        ("blue", COLOUR, "red, green"),
        ("x", OPTIONAL, "INTEGER"),
        ("[1]", STRUCT, "STRUCT"),
        ("x", types_pb2.LiteralType(schema=types_pb2.SchemaType()), "SCHEMA"),
    ],
)
def test_a_text_that_is_none_says_what_was_wanted(text: str, wanted: types_pb2.LiteralType, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        values.parse(text, wanted)
    assert repr(text) in str(caught.value)
    assert words in str(caught.value).upper() or words in str(caught.value)
