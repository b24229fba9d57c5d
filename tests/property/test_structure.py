from __future__ import annotations

from flyteidl.core import literals_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.workflow import structure
from tests.support.flytetypes import INTEGER
from tests.support.templates import node, workflow

ids = st.lists(st.sampled_from([f"n{number}" for number in range(8)]), unique=True, max_size=8)


@st.composite
def twins(draw: st.DrawFn) -> tuple[workflow_pb2.WorkflowTemplate, workflow_pb2.WorkflowTemplate]:
    """Two templates that differ in order only: of upstream ids, at the top and inside branches, and of map entries."""

    def template(order: bool) -> workflow_pb2.WorkflowTemplate:
        mixed = (lambda items: draw(st.permutations(items))) if order else list
        plain = node("a", "t", tuple(mixed(upstream)))
        block = workflow_pb2.IfBlock(then_node=node("b", "t", tuple(mixed(inner))))
        branch = workflow_pb2.Node(id="c", branch_node={"if_else": workflow_pb2.IfElseBlock(case=block)})
        made = workflow(plain, branch)
        for name in mixed(names):
            made.interface.inputs.variables[name].type.CopyFrom(INTEGER)
        return made

    upstream, inner = draw(ids), draw(ids)
    names = draw(st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=5))
    return template(False), template(True)


@given(twins())
def test_order_is_no_structure(both: tuple[workflow_pb2.WorkflowTemplate, workflow_pb2.WorkflowTemplate]) -> None:
    one, other = both
    assert structure.digest(one) == structure.digest(other)
    assert structure.difference(one, other) == ""


maps = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3)


@given(maps, maps)
def test_digest_and_difference_agree_on_what_is_the_same(one: dict[str, int], other: dict[str, int]) -> None:
    def literals(values: dict[str, int]) -> literals_pb2.LiteralMap:
        made = literals_pb2.LiteralMap()
        for key, integer in values.items():
            made.literals[key].scalar.primitive.integer = integer
        return made

    same = structure.digest(literals(one)) == structure.digest(literals(other))
    assert same == (one == other) == (structure.difference(literals(one), literals(other)) == "")
