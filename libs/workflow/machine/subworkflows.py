"""Sub-workflow nodes: a graph inside a graph."""

from __future__ import annotations

from flyteidl.core import literals_pb2

from libs.workflow.errors import Internal
from libs.workflow.graph import GraphNode
from libs.workflow.machine.execution import Scope
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import NodePhase
from libs.workflow.state import Data


class SubWorkflows:
    """What sub-workflow nodes do in one step."""

    def __init__(self, openings: Openings) -> None:
        self._openings = openings

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """Its own graph begins with the node's inputs."""
        if spec.graph is None:
            raise Internal(f"node {scope.node_id(spec)} has no graph to run")
        self._openings.run_graph(self._openings.open(scope, spec, NodePhase.RUNNING, inputs=inputs), spec.graph, inputs)
