"""The conditions of branches: comparisons of bound variables with constants or with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from flyteidl.core import condition_pb2, literals_pb2, types_pb2

from libs.workflow import types
from libs.workflow.compiler.errors import Code, Report

_Known: TypeAlias = types_pb2.LiteralType | None


def check(
    node_id: str, expression: condition_pb2.BooleanExpression, inputs: Mapping[str, _Known], report: Report
) -> None:
    """Report what is wrong with a condition over the bound inputs of a branch."""
    match expression.WhichOneof("expr"):
        case "comparison":
            _check_comparison(node_id, expression.comparison, inputs, report)
        case "conjunction":
            conjunction = expression.conjunction
            for side in ("left_expression", "right_expression"):
                if conjunction.HasField(side):
                    check(node_id, getattr(conjunction, side), inputs, report)
                else:
                    _report_missing(node_id, report)
        case _:
            _report_missing(node_id, report)


def _report_missing(node_id: str, report: Report) -> None:
    report.add(
        Code.BRANCH_NODE_HAS_NO_CONDITION, node_id, "a case has no condition, or half of one: say when it is taken"
    )


def _check_comparison(
    node_id: str, comparison: condition_pb2.ComparisonExpression, inputs: Mapping[str, _Known], report: Report
) -> None:
    left = _operand(node_id, "left", comparison.left_value, inputs, report)
    right = _operand(node_id, "right", comparison.right_value, inputs, report)
    if left is not None and right is not None and not _comparable(left, right):
        report.add(
            Code.MISMATCHING_TYPES,
            node_id,
            f"a condition compares {types.describe(left)} with {types.describe(right)}: compare values of one type",
        )


def _operand(
    node_id: str, side: str, operand: condition_pb2.Operand, inputs: Mapping[str, _Known], report: Report
) -> _Known:
    match operand.WhichOneof("val"):
        case "primitive":
            return types.type_of_scalar(literals_pb2.Scalar(primitive=operand.primitive))
        case "scalar":
            return types.type_of_scalar(operand.scalar)
        case "var" if operand.var in inputs:
            return inputs[operand.var]
        case "var":
            known = ", ".join(sorted(inputs)) or "none"
            report.add(
                Code.VARIABLE_NAME_NOT_FOUND,
                node_id,
                f"a condition reads {operand.var!r}, which is not bound to the branch; bound are: {known}",
            )
        case _:
            report.add(
                Code.VALUE_REQUIRED, node_id, f"the {side} side of a condition is empty: give a variable or a constant"
            )
    return None


def _comparable(left: types_pb2.LiteralType, right: types_pb2.LiteralType) -> bool:
    """Whether one side can hold what the other holds. Of a union, one variant is enough."""
    return any(
        types.assignable(one, other) or types.assignable(other, one)
        for one in _variants(left)
        for other in _variants(right)
    )


def _variants(one: types_pb2.LiteralType) -> list[types_pb2.LiteralType]:
    return list(one.union_type.variants) if one.WhichOneof("type") == "union_type" else [one]
