"""Launch plan nodes: the execution that they launch is their work, and its end is theirs.

The child's row is part of the commit that opens the node, so there is never a node without child, nor a child without
node. A child is stopped by being aborted, and its node waits until it has ended.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2

from libs.workflow.errors import Internal
from libs.workflow.graph import GraphNode, LaunchPlanTarget
from libs.workflow.launch import launch_child, resolve_inputs
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import LiveNode, Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.messages import AttendChild, ChildEnded, LookUpChild
from libs.workflow.machine.openings import Openings
from libs.workflow.machine.recovery import counterpart
from libs.workflow.phases import ErrorKind, ExecutionPhase, NodePhase
from libs.workflow.state import EMPTY, Data, ExecutionState


class Children:
    """What launch plan nodes do in one step."""

    def __init__(self, journal: Journal, endings: Endings, openings: Openings) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """Launches the child; `inputs` are complete."""
        child = self._launched(scope, spec, inputs)
        node = self._openings.open(scope, spec, NodePhase.RUNNING, inputs=inputs)
        node.state.child_key = child.key
        self._journal.turn.changes.children.append(child)
        self._journal.record("ChildLaunched", node, str(child.id))
        self._journal.command(AttendChild(child.key))
        self._journal.execution.launched(node)

    def _launched(self, scope: Scope, spec: GraphNode, inputs: Data) -> ExecutionState:
        plan = launch_plan_of(spec)
        old = counterpart(self._journal.execution, scope, spec)
        return launch_child(
            self._journal.execution.state,
            scope.node_id(spec),
            0,
            plan.id,
            plan.spec,
            plan.workflow,
            inputs,
            self._journal.now_us,
            order=len(self._journal.turn.changes.children),
            recovers_key=old.child_key if old is not None else None,
        )

    def resume(self, node: LiveNode) -> None:
        """The child may have ended while nobody led."""
        self._journal.command(LookUpChild(node.state.id, node.state.child_key or 0))

    def on_ended(self, event: ChildEnded) -> None:
        """The child is final, and so is its node."""
        node = self._journal.execution.node(event.node_id)
        if node is None or node.state.child_key != event.child_key:
            return
        self._journal.record("ChildEnded", node, event.phase.name)
        if event.phase is ExecutionPhase.SUCCEEDED:
            node.state.outputs = event.outputs or EMPTY
            self._endings.end(node, NodePhase.SUCCEEDED)
        elif node.state.error is not None:
            self._endings.end(node, NodePhase.FAILED)  # it has had its time
        elif node.stopping:
            self._endings.end(node, NodePhase.ABORTED)
        elif event.phase is ExecutionPhase.ABORTED:
            self._endings.fail(
                node, "RemoteChildWorkflowExecutionFailed", "the execution it launched was aborted", ErrorKind.USER
            )
        else:
            error = execution_pb2.ExecutionError.FromString(event.error or b"")
            code = error.code or "LaunchPlanExecutionFailed"
            message = error.message or f"the execution it launched has {event.phase.name.lower()}"
            self._endings.fail(node, code, message, ErrorKind(error.kind))


def completed(spec: GraphNode, given: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """What a launch plan node is given, with the plan's defaults and fixed inputs: the inputs of both node and child.

    Raises InvalidArgument naming every input that is wrong.
    """
    plan = launch_plan_of(spec)
    return resolve_inputs(given, plan.expected_inputs, plan.spec.fixed_inputs)


def launch_plan_of(spec: GraphNode) -> LaunchPlanTarget:
    if spec.launch_plan is None:
        raise Internal(f"node {spec.id} has no launch plan")
    return spec.launch_plan
