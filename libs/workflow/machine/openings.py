"""How nodes begin: they get a row, and those with a graph of their own get a scope for it."""

from __future__ import annotations

from libs.workflow.graph import Graph, GraphNode
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import LiveNode, Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.phases import ErrorKind, NodePhase
from libs.workflow.state import Data, NodeState

INLINE_LIMIT_BYTES = 16 * 1024
"""Literal maps up to this size live in rows and messages; larger ones in the blob store."""


class Openings:
    """The beginnings of one step."""

    def __init__(self, journal: Journal, endings: Endings) -> None:
        self._journal = journal
        self._endings = endings

    def open(
        self,
        scope: Scope,
        spec: GraphNode,
        phase: NodePhase,
        *,
        inputs: Data | None = None,
        outputs: Data | None = None,
    ) -> LiveNode:
        """Gives a node its row. One that is final at once is also completed."""
        now_us = self._journal.now_us
        state = NodeState(
            id=scope.node_id(spec),
            spec_id=spec.id,
            parent_id=scope.parent.state.id if scope.parent else "",
            kind=spec.kind,
            inputs=None if scope.items is not None and scope.items.shared else inputs,
            outputs=outputs,
            created_at_us=now_us,
            queued_at_us=now_us,
            started_at_us=now_us if phase is NodePhase.RUNNING else None,
        )
        node = LiveNode(scope, spec, state)
        scope.nodes[spec.index] = node
        self._journal.move(node, phase)
        if phase.terminal:
            self._endings.complete(node)
        else:
            scope.open.add(spec.index)
            self._journal.execution.live[state.id] = node
            if phase is NodePhase.RUNNING:
                self.limit(node)
        return node

    def limit(self, node: LiveNode) -> None:
        """From now on its time runs, if it is limited."""
        if node.spec.time_allowed_us:
            self._journal.execution.set_timer(node, self._journal.now_us + node.spec.time_allowed_us)

    def run_graph(self, node: LiveNode, graph: Graph, inputs: Data) -> None:
        """A node's own graph begins."""
        node.child = Scope(graph, node, inputs)
        self._journal.execution.ready.append((node.child, graph.start))

    def fail(self, scope: Scope, spec: GraphNode, code: str, message: str, kind: ErrorKind = ErrorKind.USER) -> None:
        """A node that cannot even start."""
        if scope.admits(spec.index):
            self._endings.fail(self.open(scope, spec, NodePhase.QUEUED), code, message, kind)
