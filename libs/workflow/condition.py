"""Which arm of a branch is taken.

The rules are FlytePropeller's (`nodes/branch/comparator.go`), with differences in the user's favour: an operand may be
a union (its value counts) or None, which equals nothing but None; whether it is None can be asked of whatever there is;
AND and OR look at their right side only if the left one leaves the answer open; integers compare with floats; dates and
durations compare to the nanosecond.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from flyteidl.core import condition_pb2, literals_pb2

from libs.workflow.errors import AirscrewError
from libs.workflow.graph import BranchTarget

_C = condition_pb2.ComparisonExpression
_Literals = Mapping[str, literals_pb2.Literal]

_ORDER: Final[Mapping[int, Callable[[Any, Any], Any]]] = {
    _C.EQ: operator.eq,
    _C.NEQ: operator.ne,
    _C.GT: operator.gt,
    _C.GTE: operator.ge,
    _C.LT: operator.lt,
    _C.LTE: operator.le,
}
_SIGNS: Final = {_C.EQ: "==", _C.NEQ: "!=", _C.GT: ">", _C.GTE: ">=", _C.LT: "<", _C.LTE: "<="}
_CONJUNCTIONS: Final = condition_pb2.ConjunctionExpression.LogicalOperator.values()


class ConditionError(AirscrewError):
    """A condition compares what cannot be compared."""


def choose(branch: BranchTarget, inputs: _Literals) -> int | None:
    """The index of the node of the first arm that holds; None when no arm does. Raises ConditionError."""
    for case in branch.cases:
        if case.condition is None or holds(case.condition, inputs):
            return case.index
    return None


def holds(expression: condition_pb2.BooleanExpression, inputs: _Literals) -> bool:
    """Whether a condition is true. Raises ConditionError."""
    match expression.WhichOneof("expr"):
        case "conjunction":
            conjunction = expression.conjunction
            if conjunction.operator not in _CONJUNCTIONS:
                raise ConditionError(f"there is no conjunction with the number {conjunction.operator}")
            left = holds(conjunction.left_expression, inputs)
            if conjunction.operator == condition_pb2.ConjunctionExpression.AND:
                return left and holds(conjunction.right_expression, inputs)
            return left or holds(conjunction.right_expression, inputs)
        case "comparison":
            return _compare(expression.comparison, inputs)
        case _:
            raise ConditionError("a condition is empty")


def _compare(comparison: condition_pb2.ComparisonExpression, inputs: _Literals) -> bool:
    if comparison.operator not in _SIGNS:
        raise ConditionError(f"there is no comparison with the number {comparison.operator}")
    left_kind, left = _value(comparison.left_value, inputs)
    right_kind, right = _value(comparison.right_value, inputs)
    sign = _SIGNS[comparison.operator]
    equality = comparison.operator in (_C.EQ, _C.NEQ)
    if "none" in (left_kind, right_kind):
        if not equality:
            raise ConditionError(f"None has no order: it cannot be compared by {sign}")
        return bool((left_kind == right_kind) == (comparison.operator == _C.EQ))
    for value in (left, right):
        if isinstance(value, ConditionError):
            raise value
    if left_kind != right_kind:
        raise ConditionError(f"a {left_kind} cannot be compared with a {right_kind}")
    if left_kind == "boolean" and not equality:
        raise ConditionError(f"booleans have no order: they cannot be compared by {sign}")
    return bool(_ORDER[comparison.operator](left, right))


def _value(operand: condition_pb2.Operand, inputs: _Literals) -> tuple[str, Any]:
    """What an operand is and a Python value that compares like it.

    What compares with nothing but None (a list, a file) comes with the error that says so.
    """
    match operand.WhichOneof("val"):
        case "primitive":
            return _primitive(operand.primitive)
        case "scalar":
            return _scalar(operand.scalar)
        case "var":
            if operand.var not in inputs:
                raise ConditionError(f"a condition reads {operand.var!r}, which the branch does not have")
            literal = inputs[operand.var]
            kind = literal.WhichOneof("value")
            if kind != "scalar":
                return str(kind), ConditionError(f"{operand.var!r} is a {kind}: only single values compare")
            return _scalar(literal.scalar)
        case _:
            raise ConditionError("a side of a condition is empty")


def _scalar(scalar: literals_pb2.Scalar) -> tuple[str, Any]:
    match scalar.WhichOneof("value"):
        case "primitive":
            return _primitive(scalar.primitive)
        case "none_type":
            return "none", None
        case "union" if scalar.union.value.WhichOneof("value") == "scalar":
            return _scalar(scalar.union.value.scalar)
        case kind:
            return str(kind), ConditionError(f"a {kind} cannot be compared")


def _primitive(primitive: literals_pb2.Primitive) -> tuple[str, Any]:
    match primitive.WhichOneof("value"):
        case "integer":
            return "number", primitive.integer
        case "float_value":
            return "number", primitive.float_value
        case "string_value":
            return "string", primitive.string_value.encode()
        case "boolean":
            return "boolean", primitive.boolean
        case "datetime":
            return "datetime", (primitive.datetime.seconds, primitive.datetime.nanos)
        case "duration":
            return "duration", (primitive.duration.seconds, primitive.duration.nanos)
        case _:
            return "none", None
