from __future__ import annotations

from dataclasses import dataclass

import pytest
from flyteidl.core import condition_pb2, literals_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow import compiler
from libs.workflow.compiler import Code
from tests.support.decompile import decompile
from tests.support.flytetypes import INTEGER, listed
from tests.support.templates import bindings, constant, list_of, node, promise, sub_node, task, workflow

TASKS = [
    task("total", {"xs": listed(INTEGER)}, {"o0": INTEGER}),
    task("double", {"x": INTEGER}, {"o0": INTEGER}),
    task("squares", {"xs": listed(INTEGER)}, {"o0": listed(INTEGER)}),
    task("clean"),
]
INNER = workflow(
    node("n0", "double", x="x"), name="inner", inputs={"x": INTEGER}, outputs={"o0": INTEGER}, returns={"o0": "n0.o0"}
)


@dataclass
class Drawn:
    """A random acyclic workflow, and the edges that it was drawn with."""

    template: workflow_pb2.WorkflowTemplate
    edges: set[tuple[str, str]]


@st.composite
def workflows(draw: st.DrawFn) -> Drawn:
    size = draw(st.integers(1, 12))
    edges, nodes = set(), []
    for number in range(size):
        earlier = st.lists(st.integers(0, number - 1), unique=True, max_size=3) if number else st.just([])
        reads = [f"n{one}" for one in draw(earlier)]
        after = [f"n{one}" for one in draw(earlier)]
        inputs = ["a"] if draw(st.booleans()) else []
        items = [promise(f"{one}.o0") for one in reads] + [promise(one) for one in inputs]
        nodes.append(node(f"n{number}", "total", tuple(after), xs=list_of(constant(1), *items)))
        edges |= {(one, f"n{number}") for one in (*reads, *after)}
        edges |= {("start-node", f"n{number}") for _ in inputs}
    result = draw(st.integers(0, size - 1))
    edges.add((f"n{result}", "end-node"))
    shuffled = draw(st.permutations(nodes))
    template = workflow(*shuffled, inputs={"a": INTEGER}, outputs={"o0": INTEGER}, returns={"o0": f"n{result}.o0"})
    return Drawn(template, edges)


@st.composite
def integers(draw: st.DrawFn, known: list[str]) -> literals_pb2.BindingData:
    """Something of type INTEGER that can be bound: a constant, an input or an output of a known node."""
    return draw(st.one_of(st.integers(0, 9).map(constant), st.sampled_from(known).map(promise)))


@st.composite
def nodes_of_any_kind(draw: st.DrawFn, node_id: str, known: list[str], depth: int = 2) -> workflow_pb2.Node:
    """A node with an output `o0` of type INTEGER."""
    kinds = ["task", "list", "sub", "approve", "signal", *(["branch"] if depth else [])]
    match draw(st.sampled_from(kinds)):
        case "task":
            return node(node_id, "double", x=draw(integers(known)))
        case "list":
            return node(node_id, "total", xs=list_of(*draw(st.lists(integers(known), max_size=3))))
        case "sub":
            return sub_node(node_id, "inner", x=draw(integers(known)))
        case "approve":
            one = workflow_pb2.Node(id=node_id, inputs=bindings({"o0": draw(integers(known))}))
            one.gate_node.approve.signal_id = node_id
            return one
        case "signal":
            one = workflow_pb2.Node(id=node_id)
            one.gate_node.signal.CopyFrom(workflow_pb2.SignalCondition(type=INTEGER, output_variable_name="o0"))
            return one
    one = workflow_pb2.Node(id=node_id, inputs=bindings({"a": draw(integers(known))}))
    cases = [draw(nodes_of_any_kind(f"n{number}", known, depth - 1)) for number in range(draw(st.integers(1, 3)))]
    operands = {
        "left_value": condition_pb2.Operand(var="a"),
        "right_value": condition_pb2.Operand(scalar=constant(1).scalar),
    }
    condition = condition_pb2.BooleanExpression(comparison=condition_pb2.ComparisonExpression(**operands))
    blocks = [workflow_pb2.IfBlock(condition=condition, then_node=case) for case in cases]
    if_else = one.branch_node.if_else
    if_else.case.CopyFrom(blocks[0])
    if_else.other.extend(blocks[1:])
    if draw(st.booleans()):
        if_else.error.message = "no case fits"
    else:
        if_else.else_node.CopyFrom(draw(nodes_of_any_kind(f"n{len(cases)}", known, depth - 1)))
    return one


@st.composite
def sources(draw: st.DrawFn) -> workflow_pb2.WorkflowTemplate:
    """A workflow with nodes of any kind, written in any order."""
    known, nodes = ["a"], []
    for number in range(draw(st.integers(1, 6))):
        one = draw(nodes_of_any_kind(f"n{number}", known))
        after = draw(st.lists(st.sampled_from(sorted(nodes_of(known))), unique=True)) if len(known) > 1 else []
        one.upstream_node_ids.extend(sorted(after))
        nodes.append(one)
        known.append(f"n{number}.o0")
    if draw(st.booleans()):
        array = workflow_pb2.ArrayNode(node=node("item", "squares"), parallelism=2)
        bound = bindings({"xs": list_of(draw(integers(known)))})
        nodes.append(workflow_pb2.Node(id="array", inputs=bound, array_node=array))
    template = workflow(
        *draw(st.permutations(nodes)),
        inputs={"a": INTEGER},
        outputs={"o0": INTEGER},
        returns={"o0": draw(integers(known))},
    )
    if draw(st.booleans()):
        template.failure_node.CopyFrom(draw(nodes_of_any_kind("fn0", ["a"], depth=0)))
    return template


def nodes_of(paths: list[str]) -> set[str]:
    return {path.split(".")[0] for path in paths if "." in path}


@given(sources())
def test_decompiling_undoes_compiling_and_compiling_undoes_decompiling(
    template: workflow_pb2.WorkflowTemplate,
) -> None:
    closure = compiler.compile_workflow(template, [INNER], TASKS)
    source = decompile(closure)
    assert source.template == template
    assert source.sub_workflows in ([], [INNER])
    tasks = [compiler.compile_task(one) for one in source.tasks]
    assert compiler.compile_workflow(source.template, source.sub_workflows, tasks) == closure


@given(workflows())
def test_connections_are_the_edges_that_were_drawn_closed_by_start_and_end(drawn: Drawn) -> None:
    primary = compiler.compile_workflow(drawn.template, (), TASKS).primary
    downstream = {(key, one) for key, ids in primary.connections.downstream.items() for one in ids.ids}
    upstream = {(one, key) for key, ids in primary.connections.upstream.items() for one in ids.ids}
    expected = set(drawn.edges)
    for one in drawn.template.nodes:
        if not any(reader == one.id for _, reader in drawn.edges):
            expected.add(("start-node", one.id))
        if not any(source == one.id for source, _ in drawn.edges):
            expected.add((one.id, "end-node"))
    assert downstream == upstream == expected


@given(workflows())
def test_compiling_twice_changes_nothing(drawn: Drawn) -> None:
    once = compiler.compile_workflow(drawn.template, (), TASKS)
    assert compiler.compile_workflow(once.primary.template, (), once.tasks) == once


@given(workflows(), st.data())
def test_an_edge_backwards_is_always_found_as_a_cycle(drawn: Drawn, data: st.DataObject) -> None:
    real = sorted((source, reader) for source, reader in drawn.edges if {source[0], reader[0]} == {"n"})
    if not real:
        return
    source, reader = data.draw(st.sampled_from(real))
    next(one for one in drawn.template.nodes if one.id == source).upstream_node_ids.append(reader)
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_workflow(drawn.template, (), TASKS)
    assert Code.CYCLE_DETECTED in {error.code for error in caught.value.errors}
