from __future__ import annotations

import pytest
from flyteidl.core import literals_pb2, workflow_pb2

from libs.workflow.compiler import Code
from tests.support.compiling import MAKE, ONE_CASE, aliased, branch, comparison, compiled, demanding, gate, timed
from tests.support.flytetypes import INTEGER
from tests.support.templates import bindings, constant, list_of, map_of, node, plan_node, promise, sub_node, workflow


def without(one: workflow_pb2.Node, field: str) -> workflow_pb2.Node:
    """A copy of a branch node whose `if_else` lacks a field."""
    copy = workflow_pb2.Node()
    copy.CopyFrom(one)
    *path, last = field.split(".")
    inside = copy.branch_node.if_else
    for step in path:
        inside = getattr(inside, step)
    inside.ClearField(last)
    return copy


def bound_twice() -> workflow_pb2.Node:
    one = node("n0", "double", x=1)
    one.inputs.extend(bindings({"x": 2}))
    return one


def bound_to_nothing() -> workflow_pb2.Node:
    one = node("n0", "double")
    one.inputs.add(var="x")
    return one


UNTYPED = workflow(MAKE)


UNTYPED.interface.inputs.variables["x"].description = "without type"


# (workflow, code, node, part of the message)
MISTAKES = [
    (workflow(), Code.NO_NODES_FOUND, "", "no nodes"),
    (UNTYPED, Code.VALUE_REQUIRED, "start-node", "input 'x' of the workflow has no type"),
    (workflow(node("", "make")), Code.VALUE_REQUIRED, "", "has no id"),
    (workflow(MAKE, node("n0", "text")), Code.DUPLICATE_ID, "n0", "more than one node"),
    (workflow(MAKE, ONE_CASE, node("n1-n0", "make")), Code.DUPLICATE_ID, "n1-n0", "more than one node"),
    (workflow(workflow_pb2.Node(id="n0")), Code.VALUE_REQUIRED, "n0", "no target"),
    (workflow(workflow_pb2.Node(id="n0", task_node={})), Code.VALUE_REQUIRED, "n0", "refers to nothing"),
    (workflow(node("n0", "absent")), Code.TASK_REFERENCE_NOT_FOUND, "n0", "p:d:absent:v is not registered"),
    (workflow(sub_node("n0", "absent")), Code.WORKFLOW_REFERENCE_NOT_FOUND, "n0", "sub-workflow p:d:absent:v"),
    (workflow(plan_node("n0", "absent")), Code.WORKFLOW_REFERENCE_NOT_FOUND, "n0", "launch plan p:d:absent:v"),
    (workflow(node("n0", "double", x="n9.o0")), Code.NODE_REFERENCE_NOT_FOUND, "n0", "'n9'"),
    (workflow(node("n0", "make", after=("n9",))), Code.NODE_REFERENCE_NOT_FOUND, "n0", "'n9'"),
    (workflow(MAKE, ONE_CASE, node("n2", "double", x="n1-n0.o0")), Code.NODE_REFERENCE_NOT_FOUND, "n2", "'n1-n0'"),
    (workflow(MAKE, node("n1", "double", x="n0.o9")), Code.VARIABLE_NAME_NOT_FOUND, "n1", "outputs of n0 are: o0"),
    (workflow(MAKE, node("n1", "double", x="n0.o0", y=1)), Code.VARIABLE_NAME_NOT_FOUND, "n1", "inputs are: x"),
    (workflow(node("n0", "double")), Code.PARAMETER_NOT_BOUND, "n0", "input 'x' (INTEGER) is not bound"),
    (workflow(MAKE, outputs={"o0": INTEGER}), Code.PARAMETER_NOT_BOUND, "end-node", "'o0'"),
    (workflow(bound_twice()), Code.PARAMETER_BOUND_MORE_THAN_ONCE, "n0", "'x'"),
    (workflow(bound_to_nothing()), Code.VALUE_REQUIRED, "n0", "nothing is bound to input 'x'"),
    (
        workflow(node("n0", "text"), node("n1", "double", x="n0.o0")),
        Code.MISMATCHING_TYPES,
        "n1",
        "input 'x' is INTEGER, but n0.o0 is STRING",
    ),
    (workflow(node("n0", "double", x=1.5)), Code.MISMATCHING_TYPES, "n0", "constant bound to it is FLOAT"),
    (
        workflow(node("n0", "total", xs=list_of(constant(1), constant("a")))),
        Code.MISMATCHING_TYPES,
        "n0",
        "input 'xs'[1] is INTEGER",
    ),
    (
        workflow(node("n0", "labels", by=map_of(k=constant(1)))),
        Code.MISMATCHING_TYPES,
        "n0",
        "input 'by'['k'] is STRING",
    ),
    (workflow(node("n0", "double", x=list_of())), Code.MISMATCHING_BINDINGS, "n0", "a list is bound"),
    (
        workflow(node("n0", "double", x=literals_pb2.BindingData())),
        Code.MISMATCHING_BINDINGS,
        "n0",
        "nothing is bound",
    ),
    (workflow(node("n0", "paint", colour=constant("green"))), Code.ILLEGAL_ENUM_VALUE, "n0", "'green'"),
    (
        workflow(node("n0", "either", x=list_of(constant("a")))),
        Code.INCOMPATIBLE_BINDING_UNION_VALUE,
        "n0",
        "fits no variant",
    ),
    (
        workflow(node("n0", "unclear", x=list_of(constant(1)))),
        Code.AMBIGUOUS_BINDING_UNION_VALUE,
        "n0",
        "LIST[INTEGER] and LIST[INTEGER | NONE]",
    ),
    (
        workflow(node("n0", "double", x=literals_pb2.BindingData(scalar=literals_pb2.Scalar()))),
        Code.UNRECOGNIZED_VALUE,
        "n0",
        "no known type",
    ),
    (workflow(demanding("much")), Code.UNRECOGNIZED_VALUE, "n0", "requests.CPU: 'much'"),
    (workflow(timed(-1, 0)), Code.SYNTAX_ERROR, "n0", "timeout"),
    (workflow(MAKE, node("n1", "double", x="n0.a-b")), Code.SYNTAX_ERROR, "n1", "'a-b'"),
    (
        workflow(MAKE, node("n1", "double", x=promise("n0.o0[0]"))),
        Code.FIELD_NOT_FOUND,
        "n1",
        "n0.o0[0] goes through INTEGER",
    ),
    (
        workflow(node("n0", "object"), node("n1", "say", s="n0.o0.nickname")),
        Code.FIELD_NOT_FOUND,
        "n1",
        "its fields are: name, tags",
    ),
    (
        workflow(node("n0", "object"), node("n1", "double", x="n0.o0.name")),
        Code.MISMATCHING_TYPES,
        "n1",
        "n0.o0.name is STRING",
    ),
    (workflow(aliased(node("n0", "make"), ("o0", "a"), ("o0", "b"))), Code.DUPLICATE_ALIAS, "n0", "aliased twice"),
    (workflow(aliased(node("n0", "make"), ("o9", "a"))), Code.PARAMETER_NOT_BOUND, "n0", "'o9'"),
    (
        workflow(node("n0", "double", x="n1.o0"), node("n1", "double", x="n0.o0")),
        Code.CYCLE_DETECTED,
        "n0",
        "n0 > n1 > n0",
    ),
    (
        workflow(node("n0", "double", x="n1.o0"), node("n1", "double", x="n0.o0")),
        Code.UNREACHABLE_NODES,
        "start-node",
        "n0, n1",
    ),
    (
        workflow(MAKE, branch("n1", node("n0", "double", x="n2.o0"), a="n0.o0"), node("n2", "make", after=("n1",))),
        Code.CYCLE_DETECTED,
        "n2",
        "n2 > n1 > n2",
    ),
    (workflow(sub_node("n0", "wf")), Code.CYCLE_DETECTED, "", "p:d:wf:v"),
    (workflow(MAKE, without(ONE_CASE, "default")), Code.BRANCH_NODE_HAS_NO_DEFAULT, "n1", "neither an else"),
    (workflow(MAKE, without(ONE_CASE, "error")), Code.BRANCH_NODE_HAS_NO_DEFAULT, "n1", "neither an else"),
    (workflow(MAKE, without(ONE_CASE, "case")), Code.BRANCH_NODE_HAS_NO_CONDITION, "n1", "no first case"),
    (workflow(MAKE, without(ONE_CASE, "case.condition")), Code.BRANCH_NODE_HAS_NO_CONDITION, "n1", "no condition"),
    (workflow(MAKE, without(ONE_CASE, "case.then_node")), Code.BRANCH_NODE_ID_NOT_FOUND, "n1", "has no node"),
    (
        workflow(MAKE, branch("n1", node("n0", "nothing"), condition=comparison("b", 1), a="n0.o0")),
        Code.VARIABLE_NAME_NOT_FOUND,
        "n1",
        "bound are: a",
    ),
    (
        workflow(MAKE, branch("n1", node("n0", "nothing"), condition=comparison("a", "x"), a="n0.o0")),
        Code.MISMATCHING_TYPES,
        "n1",
        "compares INTEGER with STRING",
    ),
    (
        workflow(MAKE, without(ONE_CASE, "case.condition.comparison.left_value")),
        Code.VALUE_REQUIRED,
        "n1",
        "left side",
    ),
    (
        workflow(MAKE, branch("n1", node("n0", "make"), node("n1", "text"), a="n0.o0")),
        Code.MISMATCHING_TYPES,
        "n1-n1",
        "than in case n1-n0",
    ),
    (workflow(gate("n0", workflow_pb2.GateNode())), Code.NO_CONDITION_FOUND, "n0", "waits for nothing"),
    (
        workflow(gate("n0", workflow_pb2.GateNode(signal=workflow_pb2.SignalCondition(output_variable_name="o0")))),
        Code.VALUE_REQUIRED,
        "n0",
        "gate_node.signal.type",
    ),
    (
        workflow(gate("n0", workflow_pb2.GateNode(signal=workflow_pb2.SignalCondition(type=INTEGER)))),
        Code.VALUE_REQUIRED,
        "n0",
        "output_variable_name",
    ),
    (workflow(node("a/b", "nothing")), Code.INVALID_VALUE, "a/b", "fit for a folder"),
    (workflow(node("..", "nothing")), Code.INVALID_VALUE, "..", "fit for a folder"),
    (workflow(node("a\nb", "nothing")), Code.INVALID_VALUE, "a\nb", "fit for a folder"),
    (workflow(node("ü" * 128, "nothing")), Code.INVALID_VALUE, "ü" * 50 + "…", "256 bytes: shorten it, at most 255"),
    (
        workflow(MAKE, branch("n" * 200, node("m" * 60, "nothing"), a="n0.o0")),
        Code.INVALID_VALUE,
        "n" * 50 + "…",
        "261 bytes",
    ),
    (workflow(sub_node("n0", "inner"), node("n0-0-n1", "nothing")), Code.INVALID_VALUE, "n0-0-n1", "inside node n0"),
]


@pytest.mark.parametrize(("template", "code", "node_id", "part"), MISTAKES)
def test_each_mistake_has_its_code_its_node_and_a_sentence(
    template: workflow_pb2.WorkflowTemplate, code: Code, node_id: str, part: str
) -> None:
    errors = compiled(template)
    assert errors is not None
    found = [error for error in errors.errors if error.code is code and error.node == node_id]
    assert found, errors.message
    assert any(part in error.message for error in found), errors.message


def test_all_mistakes_are_reported_together_sub_workflows_included() -> None:
    inner = workflow(node("n0", "double"), name="inner")
    errors = compiled(workflow(node("n0", "absent"), node("n1", "double", x="n0.o0"), sub_node("n2", "inner")), inner)
    assert errors is not None
    assert [(error.code, error.node, error.workflow) for error in errors.errors] == [
        (Code.TASK_REFERENCE_NOT_FOUND, "n0", ""),
        (Code.PARAMETER_NOT_BOUND, "n0", "p:d:inner:v"),
    ]
    assert errors.message.startswith("Collected Errors: 2 in workflow p:d:wf:v")
    assert "node n0 of sub-workflow p:d:inner:v" in errors.message


def test_the_names_of_nodes_inside_sub_workflows_are_short_enough_for_folders_too() -> None:
    innermost = workflow(node("c" * 100, "nothing"), name="innermost")
    inner = workflow(sub_node("b" * 100, "innermost"), name="inner")
    assert compiled(inner, innermost) is None
    errors = compiled(workflow(sub_node("a" * 60, "inner")), inner, innermost)
    assert errors is not None
    assert [(error.code, error.workflow) for error in errors.errors] == [(Code.WORKFLOW_BUILD_ERROR, "")]
    assert "grows to 272 bytes" in errors.message


def test_sub_workflows_may_be_nested_deeply() -> None:
    depth = 2000
    nested = [workflow(sub_node("n", f"w{level + 1}"), name=f"w{level}") for level in range(depth)]
    errors = compiled(workflow(sub_node("n", "w0")), *nested, workflow(node("n", "nothing"), name=f"w{depth}"))
    assert errors is not None
    assert all(error.code is Code.WORKFLOW_BUILD_ERROR for error in errors.errors)


def test_thousands_of_mistakes_make_a_message_that_can_be_sent() -> None:
    errors = compiled(workflow(*(node(f"n{number}", "absent") for number in range(3000))))
    assert errors is not None
    assert len(errors.errors) == 3000
    assert len(errors.message) < 20_000
