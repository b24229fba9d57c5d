"""An execution's nodes in the order in which people read them: parents before their children, older before younger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from libs.workflow.phases import NodeKind
from libs.workflow.state import AttemptState, NodeState

_PLACE = {NodeKind.START: 0, NodeKind.END: 2}
"""Where a node stands among those that were created at the same moment."""


def in_order(nodes: Iterable[NodeState]) -> list[NodeState]:
    """Depth first. A node whose parent is not among them stands at the top."""
    known = {node.id: node for node in nodes}
    children: Mapping[str, list[NodeState]] = defaultdict(list)
    for node in sorted(known.values(), key=_age):
        children[node.parent_id if node.parent_id in known else ""].append(node)
    ordered: list[NodeState] = []
    waiting = list(reversed(children[""]))
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        waiting.extend(reversed(children.get(node.id, ())))
    return ordered


def by_node(attempts: Iterable[AttemptState]) -> Mapping[str, Sequence[AttemptState]]:
    """The attempts of each node, in order."""
    grouped: Mapping[str, list[AttemptState]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.attempt):
        grouped[attempt.node_id].append(attempt)
    return grouped


def _age(node: NodeState) -> tuple[int, int, str]:
    return node.created_at_us or 0, _PLACE.get(node.kind, 1), node.id
