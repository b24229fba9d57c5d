"""Conditions of branches: every operator with every kind of operand, and in agreement with Python."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.core import condition_pb2, literals_pb2
from flyteidl.core.condition_pb2 import BooleanExpression as Expression
from flyteidl.core.literals_pb2 import Literal
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow.condition import ConditionError, choose, holds
from libs.workflow.graph import BranchTarget, Case

C = condition_pb2.ComparisonExpression
J = condition_pb2.ConjunctionExpression

OPERATORS: dict[Any, Callable[[Any, Any], Any]] = {
    C.EQ: operator.eq,
    C.NEQ: operator.ne,
    C.GT: operator.gt,
    C.GTE: operator.ge,
    C.LT: operator.lt,
    C.LTE: operator.le,
}
EQUALITY = (C.EQ, C.NEQ)


def primitive(**value: Any) -> Literal:
    return Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(**value)))


def datetime(seconds: int, nanos: int = 0) -> Literal:
    literal = Literal()
    literal.scalar.primitive.datetime.seconds = seconds
    literal.scalar.primitive.datetime.nanos = nanos
    return literal


def duration(seconds: int, nanos: int = 0) -> Literal:
    literal = Literal()
    literal.scalar.primitive.duration.seconds = seconds
    literal.scalar.primitive.duration.nanos = nanos
    return literal


def union(literal: Literal) -> Literal:
    return Literal(scalar=literals_pb2.Scalar(union=literals_pb2.Union(value=literal)))


NONE = Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
LIST = Literal(collection=literals_pb2.LiteralCollection(literals=[primitive(integer=1)]))
MAP = Literal(map=literals_pb2.LiteralMap())
BLOB = Literal(scalar=literals_pb2.Scalar(blob=literals_pb2.Blob(uri="s3://b")))

SMALL_AND_LARGE: dict[str, tuple[Literal, Literal]] = {
    "integer": (primitive(integer=-1), primitive(integer=2)),
    "float": (primitive(float_value=-0.5), primitive(float_value=0.25)),
    "integer and float": (primitive(integer=1), primitive(float_value=1.5)),
    "float and integer": (primitive(float_value=0.5), primitive(integer=1)),
    "string": (primitive(string_value="abc"), primitive(string_value="abd")),
    "strings of other alphabets": (primitive(string_value="z"), primitive(string_value="é")),
    "datetime": (datetime(5, 1), datetime(5, 2)),
    "duration": (duration(-1, -500_000_000), duration(-1)),
    "durations around nothing": (duration(0, -1), duration(0)),
    "union": (union(primitive(integer=1)), union(union(primitive(integer=2)))),
    "union and plain": (union(primitive(integer=1)), primitive(float_value=2.0)),
}
KINDS: dict[str, Literal] = {
    "number": primitive(integer=1),
    "string": primitive(string_value="1"),
    "boolean": primitive(boolean=True),
    "datetime": datetime(1),
    "duration": duration(1),
}


def compared(sign: Any, left: Literal, right: Literal) -> bool:
    """Both sides as inputs of the branch."""
    return holds(comparison(sign), {"left": left, "right": right})


def comparison(sign: Any, left: str = "left", right: str = "right") -> Expression:
    operands = {name: condition_pb2.Operand(var=var) for name, var in (("left_value", left), ("right_value", right))}
    return Expression(comparison=C(operator=sign, **operands))


def both(kind: Any, left: Expression, right: Expression) -> Expression:
    return Expression(conjunction=J(operator=kind, left_expression=left, right_expression=right))


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("kind", SMALL_AND_LARGE)
def test_what_has_an_order_compares_by_it(kind: str, sign: Any) -> None:
    small, large = SMALL_AND_LARGE[kind]
    assert compared(sign, small, large) == OPERATORS[sign](1, 2)
    assert compared(sign, large, small) == OPERATORS[sign](2, 1)
    assert compared(sign, small, small) == OPERATORS[sign](1, 1)


@pytest.mark.parametrize("sign", EQUALITY)
def test_booleans_are_equal_or_not(sign: Any) -> None:
    yes, no = primitive(boolean=True), primitive(boolean=False)
    assert compared(sign, yes, yes) == OPERATORS[sign](1, 1)
    assert compared(sign, yes, no) == OPERATORS[sign](1, 2)


@pytest.mark.parametrize("sign", OPERATORS)
def test_booleans_have_no_order(sign: Any) -> None:
    if sign not in EQUALITY:
        with pytest.raises(ConditionError, match="booleans have no order"):
            compared(sign, primitive(boolean=True), primitive(boolean=False))


@pytest.mark.parametrize("kind", KINDS)
def test_none_equals_nothing_but_none(kind: str) -> None:
    for none in (NONE, union(NONE)):
        assert compared(C.EQ, none, NONE)
        assert not compared(C.NEQ, NONE, none)
        assert not compared(C.EQ, none, KINDS[kind])
        assert compared(C.NEQ, KINDS[kind], none)


@pytest.mark.parametrize("literal", [LIST, MAP, BLOB, union(LIST), union(BLOB)])
def test_whether_something_is_none_can_be_asked_of_what_compares_with_nothing_else(literal: Literal) -> None:
    assert not compared(C.EQ, literal, NONE)
    assert not compared(C.EQ, NONE, literal)
    assert compared(C.NEQ, literal, union(NONE))


@pytest.mark.parametrize("sign", [C.GT, C.GTE, C.LT, C.LTE])
def test_none_has_no_order(sign: Any) -> None:
    with pytest.raises(ConditionError, match="None has no order"):
        compared(sign, NONE, primitive(integer=1))


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize(("left", "right"), [(a, b) for a in KINDS for b in KINDS if a != b])
def test_values_of_different_kinds_do_not_compare(left: str, right: str, sign: Any) -> None:
    with pytest.raises(ConditionError, match=f"a {left} cannot be compared with a {right}"):
        compared(sign, KINDS[left], KINDS[right])


@pytest.mark.parametrize(
    ("literal", "why"),
    [
        (LIST, "'left' is a collection: only single values compare"),
        (MAP, "'left' is a map: only single values compare"),
        (BLOB, "a blob cannot be compared"),
        (union(LIST), "a union cannot be compared"),
    ],
    ids=["list", "map", "blob", "list in a union"],
)
def test_only_single_values_compare(literal: Literal, why: str) -> None:
    with pytest.raises(ConditionError, match=why):
        compared(C.EQ, literal, primitive(integer=1))


def test_operands_may_be_written_into_the_condition() -> None:
    condition = Expression()
    condition.comparison.operator = C.LT
    condition.comparison.left_value.primitive.integer = 1
    condition.comparison.right_value.scalar.primitive.float_value = 1.5
    assert holds(condition, {})


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        (Expression(), "a condition is empty"),
        (comparison(C.EQ, "nothing"), "reads 'nothing', which the branch does not have"),
        (Expression(comparison=C(operator=C.EQ)), "a side of a condition is empty"),
        (comparison(9), "there is no comparison with the number 9"),
        (both(7, comparison(C.EQ), comparison(C.EQ)), "there is no conjunction with the number 7"),
    ],
    ids=["empty", "unknown input", "empty side", "unknown comparison", "unknown conjunction"],
)
def test_what_is_no_condition_is_an_error(condition: Expression, why: str) -> None:
    with pytest.raises(ConditionError, match=why):
        holds(condition, {"left": primitive(integer=1), "right": primitive(integer=1)})


def test_the_right_side_is_looked_at_only_if_the_left_one_leaves_the_answer_open() -> None:
    true, broken = comparison(C.EQ, "left", "left"), comparison(C.EQ, "nothing")
    false = comparison(C.NEQ, "left", "left")
    inputs = {"left": primitive(integer=1)}
    assert holds(both(J.OR, true, broken), inputs)
    assert not holds(both(J.AND, false, broken), inputs)
    for left, kind in ((true, J.AND), (false, J.OR)):
        with pytest.raises(ConditionError):
            holds(both(kind, left, broken), inputs)


def test_the_first_arm_that_holds_is_chosen() -> None:
    inputs = {"left": primitive(integer=1), "right": primitive(integer=2)}
    arms = (Case(comparison(C.GT), 4), Case(comparison(C.LT), 7), Case(comparison(C.NEQ), 8))
    assert choose(BranchTarget(arms), inputs) == 7
    assert choose(BranchTarget(arms[:1]), inputs) is None
    assert choose(BranchTarget((arms[0], Case(None, 9))), inputs) == 9


NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(width=64))


def number(value: float) -> Literal:
    return primitive(integer=value) if isinstance(value, int) else primitive(float_value=value)


@given(left=NUMBERS, right=NUMBERS, sign=st.sampled_from(list(OPERATORS)))
def test_numbers_compare_as_in_python(left: float, right: float, sign: Any) -> None:
    assert compared(sign, number(left), number(right)) == OPERATORS[sign](left, right)


TEXT = st.text(st.characters(codec="utf-8"), max_size=4)


@given(left=TEXT, right=TEXT, sign=st.sampled_from(list(OPERATORS)))
def test_strings_compare_as_in_python(left: str, right: str, sign: Any) -> None:
    literals = primitive(string_value=left), primitive(string_value=right)
    assert compared(sign, *literals) == OPERATORS[sign](left, right)


@st.composite
def formulas(draw: st.DrawFn, depth: int = 4) -> tuple[Expression, str]:
    """A condition about `left` and `right`, and the same for Python to read."""
    if depth == 0 or draw(st.booleans()):
        sign, text = draw(st.sampled_from([(C.EQ, "=="), (C.NEQ, "!="), (C.GT, ">"), (C.LTE, "<=")]))
        return comparison(sign), f"left {text} right"
    left, left_text = draw(formulas(depth - 1))
    right, right_text = draw(formulas(depth - 1))
    kind, text = draw(st.sampled_from([(J.AND, "and"), (J.OR, "or")]))
    return both(kind, left, right), f"({left_text}) {text} ({right_text})"


@given(formula=formulas(), left=st.integers(0, 2), right=st.integers(0, 2))
def test_and_and_or_are_those_of_python(formula: tuple[Expression, str], left: int, right: int) -> None:
    expression, text = formula
    inputs = {"left": primitive(integer=left), "right": primitive(integer=right)}
    assert holds(expression, inputs) == eval(text, {"left": left, "right": right})
