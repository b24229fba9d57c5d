"""Which input of an echo task becomes which output."""

from __future__ import annotations

import pytest
from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from libs.workflow import errors
from services.executor import echo
from tests.support.flytetypes import FLOAT, INTEGER, NONE, STRING, union, value, variables


def interface(
    inputs: dict[str, types_pb2.LiteralType], outputs: dict[str, types_pb2.LiteralType]
) -> interface_pb2.TypedInterface:
    return interface_pb2.TypedInterface(inputs=variables(**inputs), outputs=variables(**outputs))


@pytest.mark.parametrize(
    ("inputs", "outputs", "paired"),
    [
        ({}, {}, {}),
        ({"x": INTEGER}, {"o0": INTEGER}, {"x": "o0"}),
        ({"a": INTEGER, "b": INTEGER}, {"o0": INTEGER, "o1": INTEGER}, {"a": "o0", "b": "o1"}),
        # flytekit, of `inputs={"b": int, "a": str}`
        ({"b": INTEGER, "a": STRING}, {"o0": INTEGER, "o1": STRING}, {"a": "o1", "b": "o0"}),
        (
            {"a": INTEGER, "b": union(INTEGER, NONE)},
            {"o0": union(INTEGER, NONE), "o1": INTEGER},
            {"a": "o1", "b": "o0"},
        ),
        ({"a": INTEGER}, {"o0": union(INTEGER, NONE)}, {"a": "o0"}),
    ],
)
def test_inputs_find_the_outputs_of_their_types(
    inputs: dict[str, types_pb2.LiteralType],
    outputs: dict[str, types_pb2.LiteralType],
    paired: dict[str, str],
) -> None:
    assert echo.pairs(interface(inputs, outputs)) == paired


def test_the_tenth_comes_after_the_second() -> None:
    inputs = {f"i{number:02}": INTEGER for number in range(12)}
    outputs = {f"o{number}": INTEGER for number in range(12)}
    assert echo.pairs(interface(inputs, outputs)) == {f"i{number:02}": f"o{number}" for number in range(12)}


@pytest.mark.parametrize(
    ("inputs", "outputs", "named"),
    [
        ({"a": INTEGER, "b": INTEGER}, {"o0": INTEGER}, "1 for 2"),
        ({"a": INTEGER, "b": FLOAT}, {"o0": INTEGER, "o1": INTEGER}, r"inputs\.b"),
    ],
)
def test_an_interface_that_does_not_match_itself_is_refused(
    inputs: dict[str, types_pb2.LiteralType], outputs: dict[str, types_pb2.LiteralType], named: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=named):
        echo.pairs(interface(inputs, outputs))


def test_values_keep_what_they_are() -> None:
    given = literals_pb2.Literal(scalar=value(1).scalar, hash="h", metadata={"k": "v"})
    assert echo.echoed({"x": "o0"}, {"x": given}).literals["o0"] == given


def test_a_missing_value_is_named() -> None:
    with pytest.raises(errors.InvalidArgument, match="'x'"):
        echo.echoed({"x": "o0"}, {})
