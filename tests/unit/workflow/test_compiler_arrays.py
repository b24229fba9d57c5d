from __future__ import annotations

import pytest
from flyteidl.core import types_pb2, workflow_pb2

from libs.workflow.compiler import Code
from tests.support.compiling import OPTIONAL, compiled, demanding, gate, plan, timed
from tests.support.flytetypes import INTEGER, listed
from tests.support.templates import bindings, list_of, node, plan_node, workflow


@pytest.mark.parametrize(("ratio", "readable"), [(1.0, INTEGER), (0.5, OPTIONAL)])
def test_an_array_over_a_launch_plan_takes_and_gives_lists(ratio: float, readable: types_pb2.LiteralType) -> None:
    array = workflow_pb2.ArrayNode(node=plan_node("plan", "plan"), min_success_ratio=ratio, bound_inputs=["y"])
    array.is_original_sub_node_interface.value = True
    one = workflow_pb2.Node(id="n0", inputs=bindings({"x": "xs", "y": 1}), array_node=array)
    template = workflow(one, inputs={"xs": listed(INTEGER)}, outputs={"o0": listed(readable)}, returns={"o0": "n0.o0"})
    assert compiled(template, plans=(plan("plan", required=("x", "y")),)) is None


def test_an_array_over_a_map_task_has_the_interface_of_that_task() -> None:
    array = workflow_pb2.ArrayNode(node=node("squares", "squares"))
    one = workflow_pb2.Node(id="n0", inputs=bindings({"xs": "xs"}), array_node=array)
    template = workflow(one, node("n1", "total", xs="n0.o0"), inputs={"xs": listed(INTEGER)})
    assert compiled(template) is None


def array(of: workflow_pb2.Node, **fields: object) -> workflow_pb2.Node:
    return workflow_pb2.Node(id="n0", inputs=of.inputs, array_node=workflow_pb2.ArrayNode(node=of, **fields))


# (array node, code, part of the message)
BAD_ARRAYS = [
    (array(workflow_pb2.Node()), Code.VALUE_REQUIRED, "array_node.node runs no task"),
    (array(gate("g", workflow_pb2.GateNode(sleep={}))), Code.VALUE_REQUIRED, "array_node.node runs no task"),
    (array(node("n0", "absent")), Code.TASK_REFERENCE_NOT_FOUND, "p:d:absent:v"),
    (array(node("t", "squares", xs=list_of()), bound_inputs=["y"]), Code.VARIABLE_NAME_NOT_FOUND, "bound_inputs"),
    (array(node("t", "squares", xs=list_of()), min_success_ratio=1.5), Code.INVALID_VALUE, "1.5 is not a share"),
    (array(node("t", "total", xs=list_of())), Code.MISMATCHING_INTERFACES, "output 'o0' in a list"),
    (array(node("t", "maybe")), Code.MISMATCHING_INTERFACES, "none of x is a list"),
    (array(timed(-1, 0)), Code.SYNTAX_ERROR, "timeout"),
    (array(demanding("much")), Code.UNRECOGNIZED_VALUE, "requests.CPU"),
]


@pytest.mark.parametrize(("one", "code", "part"), BAD_ARRAYS)
def test_what_is_wrong_inside_an_array_is_reported_of_the_array(one: workflow_pb2.Node, code: Code, part: str) -> None:
    errors = compiled(workflow(one))
    assert errors is not None
    assert [(error.code, error.node) for error in errors.errors] == [(code, "n0")]
    assert part in errors.message
