"""Nodes come in the order in which people read them."""

from __future__ import annotations

from libs.workflow.phases import AttemptPhase, NodeKind
from libs.workflow.state import AttemptState, NodeState
from services.admin import tree


def node(id: str, parent: str = "", created: int = 1, kind: NodeKind = NodeKind.TASK) -> NodeState:
    return NodeState(id=id, spec_id=id.rpartition("-")[2], parent_id=parent, kind=kind, created_at_us=created)


def test_children_follow_their_parent_and_come_before_its_younger_siblings() -> None:
    nodes = [
        node("n1", created=5),
        node("n0-0-n1", "n0", created=9),
        node("n0-0-n0-0-n0", "n0-0-n0", created=8),
        node("n0", created=2, kind=NodeKind.SUBWORKFLOW),
        node("n0-0-n0", "n0", created=3, kind=NodeKind.SUBWORKFLOW),
    ]
    ids = [found.id for found in tree.in_order(nodes)]
    assert ids == ["n0", "n0-0-n0", "n0-0-n0-0-n0", "n0-0-n1", "n1"]


def test_start_is_first_and_end_is_last_of_what_was_created_together() -> None:
    nodes = [node("end-node", kind=NodeKind.END), node("n0"), node("start-node", kind=NodeKind.START)]
    assert [found.id for found in tree.in_order(nodes)] == ["start-node", "n0", "end-node"]


def test_a_node_without_its_parent_stands_at_the_top() -> None:
    assert [found.id for found in tree.in_order([node("n0-0-n0", "n0")])] == ["n0-0-n0"]


def test_attempts_are_grouped_by_node_in_order() -> None:
    attempts = [AttemptState(id, number, AttemptPhase.FAILED, 1) for id, number in (("a", 1), ("b", 0), ("a", 0))]
    grouped = tree.by_node(attempts)
    assert [attempt.attempt for attempt in grouped["a"]] == [0, 1]
    assert [attempt.attempt for attempt in grouped["b"]] == [0]
