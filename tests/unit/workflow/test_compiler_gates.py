from __future__ import annotations

import pytest
from flyteidl.core import literals_pb2, workflow_pb2

from tests.support.compiling import MAKE, OPTIONAL, compiled, gate
from tests.support.flytetypes import BOOLEAN
from tests.support.templates import constant, list_of, map_of, node, promise, workflow


def approved(**bound: object) -> workflow_pb2.Node:
    return gate("n1", workflow_pb2.GateNode(approve={}), **bound)


def test_what_is_bound_to_a_gate_in_a_list_or_map_comes_out_as_one() -> None:
    bound = {"xs": list_of(promise("n0.o0"), constant(1)), "by": map_of(k=constant("a"))}
    readers = (node("n2", "total", xs="n1.xs"), node("n3", "labels", by="n1.by"))
    assert compiled(workflow(MAKE, approved(**bound), *readers)) is None


@pytest.mark.parametrize("items", [(constant(1), promise("a")), (promise("a"), constant(1))])
def test_the_type_of_a_list_at_a_gate_is_the_widest_of_its_elements(items: tuple[literals_pb2.BindingData]) -> None:
    reader = node("n2", "total", xs="n1.xs")
    errors = compiled(workflow(approved(xs=list_of(*items)), reader, inputs={"a": OPTIONAL}))
    assert errors is not None
    assert "n1.xs is LIST[INTEGER | NONE]" in errors.message


def test_an_output_of_unknown_type_can_be_read_through_a_gate() -> None:
    gate_node = approved(o0="n0.o1.anything")
    assert compiled(workflow(node("n0", "object"), gate_node, node("n2", "double", x="n1.o0"))) is None


def test_a_long_chain_of_gates_written_backwards_compiles() -> None:
    length = 3000
    gates = [
        gate(f"g{number}", workflow_pb2.GateNode(approve={}), o0=f"g{number - 1}.o0" if number else "a")
        for number in reversed(range(length))
    ]
    template = workflow(*gates, inputs={"a": BOOLEAN}, outputs={"o0": BOOLEAN}, returns={"o0": f"g{length - 1}.o0"})
    assert compiled(template) is None
