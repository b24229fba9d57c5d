"""Branches: one of several nodes runs, and its outputs are the branch's.

The choice is made when the branch starts and is kept with it. The cases that were not chosen leave no trace. What the
chosen node reads was produced around the branch.
"""

from __future__ import annotations

from flyteidl.core import literals_pb2

from libs.workflow.condition import ConditionError, choose
from libs.workflow.errors import Internal
from libs.workflow.graph import GraphNode
from libs.workflow.machine.execution import Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import NodePhase
from libs.workflow.state import Data


class Branches:
    """What branches do in one step."""

    def __init__(self, journal: Journal, openings: Openings) -> None:
        self._journal = journal
        self._openings = openings

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """Chooses, and has the chosen node start next."""
        if spec.branch is None or spec.graph is None:
            raise Internal(f"node {scope.node_id(spec)} has nothing to choose from")
        try:
            chosen = choose(spec.branch, literals.literals)
        except ConditionError as error:
            self._openings.fail(scope, spec, "MalformedBranchUserError", error.message)
            return
        if chosen is None:
            self._openings.fail(scope, spec, *_nothing_chosen(spec.branch.error))
            return
        node = self._openings.open(scope, spec, NodePhase.RUNNING, inputs=inputs)
        node.state.choice = chosen
        node.child = Scope(spec.graph, node, inputs)
        self._journal.execution.ready.append((node.child, chosen))


def _nothing_chosen(error: str | None) -> tuple[str, str]:
    if error is None:
        return "MalformedBranchUserError", "no condition holds, and there is no else"
    return "UserProvidedError", error
