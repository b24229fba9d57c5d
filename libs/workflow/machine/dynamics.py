"""Dynamic nodes: tasks whose outputs are made by nodes that they ask for when they run.

The attempt has ended by then and holds no slot. The shell compiles what it left (`BuildGraph`); from then on the node
is like a sub-workflow.
"""

from __future__ import annotations

from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import inputs_of
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.messages import GraphBuilt
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import ErrorKind, NodePhase


class Dynamics:
    """What dynamic nodes do in one step."""

    def __init__(self, journal: Journal, endings: Endings, openings: Openings) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings

    def on_graph_built(self, event: GraphBuilt) -> None:
        """The nodes that were asked for may start, or never can."""
        node = self._journal.execution.node(event.node_id)
        if node is None or node.state.attempt != event.attempt or node.state.futures_uri is None or node.child:
            return
        if event.graph is None:
            self._endings.fail(node, "DynamicWorkflowBuildFailed", event.error, ErrorKind.USER)
            return
        node.state.closure_uri = event.closure_uri
        self._journal.move(node, NodePhase.DYNAMIC_RUNNING)
        self._openings.limit(node)
        self._openings.run_graph(node, event.graph, inputs_of(node))
