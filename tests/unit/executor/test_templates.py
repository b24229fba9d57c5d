"""Variables of command lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flyteidl.core import literals_pb2, types_pb2

from libs.workflow import errors
from services.executor import templates


def primitive(**value: object) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(**value)))


def moment(when: datetime) -> literals_pb2.Literal:
    literal = primitive()
    literal.scalar.primitive.datetime.FromDatetime(when)
    return literal


def span(length: timedelta) -> literals_pb2.Literal:
    literal = primitive()
    literal.scalar.primitive.duration.FromTimedelta(length)
    return literal


@pytest.mark.parametrize(
    ("word", "rendered"),
    [
        ("{{.input}}", "IN"),
        ("{{ .Input }}", "IN"),
        ("{{$input}}", "IN"),
        ("{{.INPUT}}-{{.input}}", "IN-IN"),
        ("{{input}}", "{{input}}"),
        ("{{.unknown}}", "{{.unknown}}"),
        ("{.input}", "{.input}"),
        ("no variable", "no variable"),
        ("{{.tricky}}", "{{.input}}"),
    ],
)
def test_variables_are_replaced_once_and_what_is_none_stays(word: str, rendered: str) -> None:
    assert templates.render([word], {"input": "IN", "tricky": "{{.input}}"}, {}) == (rendered,)


def test_names_of_inputs_keep_their_case() -> None:
    inputs = {"Who": primitive(string_value="upper"), "who": primitive(string_value="lower")}
    assert templates.render(["{{.inputs.Who}} {{.Inputs.who}}"], {}, inputs) == ("upper lower",)


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        (primitive(integer=-7), "-7"),
        (primitive(float_value=1.5), "1.5"),
        (primitive(float_value=2.0), "2"),
        (primitive(float_value=float("-inf")), "-Inf"),
        (primitive(boolean=True), "true"),
        (primitive(string_value="a b"), "a b"),
        (moment(datetime(2024, 2, 29, 12, 0, 5, 250_000, UTC)), "2024-02-29T12:00:05.25Z"),
        (moment(datetime(2024, 2, 29, tzinfo=UTC)), "2024-02-29T00:00:00Z"),
        (span(timedelta(0)), "0s"),
        (span(timedelta(microseconds=1500)), "1.5ms"),
        (span(timedelta(microseconds=20)), "20µs"),
        (span(timedelta(seconds=90, milliseconds=500)), "1m30.5s"),
        (span(timedelta(hours=2)), "2h0m0s"),
        (span(-timedelta(seconds=3)), "-3s"),
        (literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=literals_pb2.Blob(uri="s3://b/k"))), "s3://b/k"),
        (
            literals_pb2.Literal(
                collection=literals_pb2.LiteralCollection(literals=[primitive(integer=1), primitive(integer=2)])
            ),
            "[1,2]",
        ),
    ],
)
def test_values_are_written_as_flyte_writes_them(literal: literals_pb2.Literal, text: str) -> None:
    assert templates.text(literal) == text


@pytest.mark.parametrize(
    "literal",
    [
        literals_pb2.Literal(),
        literals_pb2.Literal(map=literals_pb2.LiteralMap()),
        literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void())),
        literals_pb2.Literal(
            scalar=literals_pb2.Scalar(union=literals_pb2.Union(type=types_pb2.LiteralType(simple=types_pb2.INTEGER)))
        ),
    ],
)
def test_a_value_without_text_is_refused_by_the_name_of_its_input(literal: literals_pb2.Literal) -> None:
    with pytest.raises(errors.InvalidArgument, match="input 'x'"):
        templates.render(["{{.inputs.x}}"], {}, {"x": literal})


def test_an_unknown_input_is_refused_by_its_name() -> None:
    with pytest.raises(errors.InvalidArgument, match="'y'"):
        templates.render(["{{.inputs.y}}"], {}, {})


def test_it_says_which_variables_are_mentioned() -> None:
    words = ("a", "--t={{ .TaskTemplatePath }}", "{{.inputs.n}}")
    assert templates.mentions(words, "taskTemplatePath") and templates.mentions_inputs(words)
    assert not templates.mentions(words, "input") and not templates.mentions_inputs(words[:2])


def test_a_unique_key_is_a_name_nearly_everywhere() -> None:
    assert templates.unique_key("ex1", "n0-0-n1", 2) == "ex1_n0_0_n1_2"
    assert templates.unique_key("1x", "n0", 0) == "ax_n0_0"
