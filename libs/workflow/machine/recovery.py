"""Recovery: what another execution has achieved is taken over, and only the rest runs.

Nodes are matched by their paths: the ids that the workflow gives to a node and to those around it, whatever the
attempts were. A node whose counterpart has succeeded (or was recovered itself) is RECOVERED, with its outputs, as soon
as it would have started: it never runs, and nothing in it does. Every other node runs, and what is in it is matched
one by one: nodes of a failed sub-workflow, of a branch, items of an array, nodes that a task asks for. An execution
that a launch plan node launches anew recovers the one that its counterpart had launched.

Start and end nodes only pass on, so they run. Failure nodes, and what is in them, run again when there is a failure
again. Nodes of a task that now asks for others than before are only taken for what they were if kind and task agree.
"""

from __future__ import annotations

from collections.abc import Iterable

from libs.workflow.graph import GraphNode
from libs.workflow.machine.execution import Execution, LiveNode, Path, Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import NodeKind, NodePhase
from libs.workflow.state import NodeState

_ACHIEVED = frozenset({NodePhase.SUCCEEDED, NodePhase.RECOVERED})


class Recovery:
    """What is recovered in one step."""

    def __init__(self, journal: Journal, openings: Openings) -> None:
        self._journal = journal
        self._openings = openings

    def recovers(self, scope: Scope, spec: GraphNode) -> bool:
        """Whether this node, which may start now, need not: it is RECOVERED then."""
        old = counterpart(self._journal.execution, scope, spec)
        if old is None or old.phase not in _ACHIEVED:
            return False
        node = self._openings.open(scope, spec, NodePhase.RECOVERED, inputs=old.inputs, outputs=old.outputs)
        node.state.task = old.task
        node.state.child_key = old.child_key
        node.state.items = old.items
        node.state.deck_uri = old.deck_uri
        return True


def counterpart(execution: Execution, scope: Scope, spec: GraphNode) -> NodeState | None:
    """The same node of the execution that is recovered, if it is of use."""
    if not execution.recovery or spec.kind in (NodeKind.START, NodeKind.END):
        return None
    path = _path(scope, spec)
    old = execution.recovery.get(path) if path is not None else None
    if old is None or old.kind is not spec.kind or (spec.task is not None and spec.task.id != old.task):
        return None
    return old


def recoverable(states: Iterable[NodeState]) -> dict[Path, NodeState]:
    """By path, the nodes of an execution that are of use to one that recovers it; of several attempts the last."""
    by_id = {state.id: state for state in states}
    found: dict[Path, NodeState] = {}
    for state in sorted(by_id.values(), key=lambda state: (state.created_at_us or 0, state.id)):
        if state.phase in _ACHIEVED or state.child_key is not None:
            found[_old_path(state, by_id)] = state
    return found


def _old_path(state: NodeState, by_id: dict[str, NodeState]) -> Path:
    path = [state.spec_id]
    while state.parent_id:
        state = by_id[state.parent_id]
        path.append(state.spec_id)
    return tuple(reversed(path))


def _path(scope: Scope, spec: GraphNode) -> Path | None:
    """None in failure nodes."""
    path: list[str] = []
    while True:
        if spec.index == scope.graph.failure:
            return None
        path.append(spec.id)
        around: LiveNode | None = scope.parent
        if around is None:
            return tuple(reversed(path))
        scope, spec = around.scope, around.spec
