from __future__ import annotations

from dataclasses import dataclass

import pytest
from flyteidl.core import workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow import compiler
from libs.workflow.compiler import Code
from tests.support.flytetypes import INTEGER, listed
from tests.support.templates import constant, list_of, node, promise, task, workflow

TASKS = [task("total", {"xs": listed(INTEGER)}, {"o0": INTEGER})]


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
