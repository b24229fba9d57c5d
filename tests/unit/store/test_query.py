"""Flyte's filter grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.store.query import DEFAULT_LIMIT, Filter, Kind, Query, parse, value_of
from libs.workflow.errors import InvalidArgument


def test_filters_are_joined_by_plus() -> None:
    assert parse("eq(a,1)+value_in(b.c,x;y) + ne(d, z)") == [
        Filter("eq", "a", ("1",)),
        Filter("value_in", "b.c", ("x", "y")),
        Filter("ne", "d", ("z",)),
    ]
    assert parse("") == []


def test_a_value_may_hold_what_separates_elsewhere() -> None:
    assert parse("eq(a,1+2)") == [Filter("eq", "a", ("1+2",))]
    assert parse("eq(a,f(x),y)+eq(b,2026-01-01T00:00:00+01:00)") == [
        Filter("eq", "a", ("f(x),y",)),
        Filter("eq", "b", ("2026-01-01T00:00:00+01:00",)),
    ]
    assert parse("eq(a,x;y)") == [Filter("eq", "a", ("x;y",))]
    assert parse("eq(a,)") == [Filter("eq", "a", ("",))]


@given(st.text())
def test_any_text_is_filters_or_an_invalid_argument(text: str) -> None:
    try:
        parse(text)
    except InvalidArgument as error:
        assert error.message.startswith("filters: ")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Kind.TEXT, " as it is ", " as it is "),
        (Kind.INTEGER, "12", 12),
        (Kind.TIME, "1970-01-01T00:00:01.5Z", 1_500_000),
        (Kind.TIME, "1970-01-01T00:00:00.000000999Z", 0),
        (Kind.DURATION, "1.5", 1_500_000),
        (Kind.DURATION, "1h2m3s4ms5us", 3_723_004_005),
        (Kind.NAME, "red", 1),
        (Kind.NAME, "1", 1),
    ],
)
def test_values_are_read_by_the_kind_of_their_field(kind: Kind, text: str, value: object) -> None:
    assert value_of(kind, text, "field", {"RED": 1}) == value


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.TEXT]), st.text())
def test_any_value_is_read_or_an_invalid_argument(kind: Kind, text: str) -> None:
    try:
        assert isinstance(value_of(kind, text, "field", {"RED": 1}), int)
    except InvalidArgument as error:
        assert error.message.startswith("filters: field: ")


def test_a_request_without_a_limit_gets_the_default() -> None:
    assert Query().rows == DEFAULT_LIMIT
    assert Query(limit=7).rows == 7
