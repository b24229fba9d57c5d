"""How nodes, graphs and the execution end, and what an end means for everything around it.

An end goes downwards (what runs in a graph that is closing is stopped), sideways (what depended on a node becomes
ready, or is skipped) and upwards (a graph at rest ends the node whose graph it is). Nothing ends above what still runs
below it.
"""

from __future__ import annotations

from libs.workflow.errors import Internal
from libs.workflow.machine.execution import Execution, LiveNode, Scope
from libs.workflow.machine.journal import EVENT_LIMIT_CHARACTERS, Journal, execution_error, shortened
from libs.workflow.machine.messages import AttemptEnded, End, Stop, Unseek
from libs.workflow.phases import AttemptPhase, ErrorKind, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Data


class Endings:
    """The ends of one step."""

    def __init__(self, execution: Execution, journal: Journal) -> None:
        self._execution = execution
        self._journal = journal

    def fail(self, node: LiveNode, code: str, message: str, kind: ErrorKind) -> None:
        """Ends a node by a failure of its own."""
        node.state.error = execution_error(code, message, kind)
        self._journal.record("NodeFailed", node, f"{code}: {message}")
        self.end(node, NodePhase.FAILED)

    def end(self, node: LiveNode, phase: NodePhase) -> None:
        """A node is final: what depends on it goes on, is skipped, or is stopped."""
        scope = node.scope
        scope.open.discard(node.spec.index)
        self._execution.live.pop(node.state.id, None)
        node.state.wake_at_us = None
        self._journal.move(node, phase)
        if phase is NodePhase.FAILED:
            scope.error = scope.error or node.state.error
        self.complete(node)
        if scope.closing:
            if not scope.open:
                self.settle(scope)
        elif phase is NodePhase.FAILED and (scope.graph.fail_immediately or node.spec.kind is NodeKind.END):
            # Whatever the policy, without an end node there is nothing left to wait for.
            self.close(scope)

    def complete(self, node: LiveNode) -> None:
        """Counts a final node off its downstream nodes: the only place where a node becomes ready."""
        scope = node.scope
        poison = node.state.phase in (NodePhase.FAILED, NodePhase.SKIPPED)
        for target in node.spec.downstream:
            scope.missing[target] -= 1
            if poison:
                scope.poisoned.add(target)
            if scope.missing[target] == 0 and not scope.closing:
                self._execution.ready.append((scope, target))

    def finish(self, scope: Scope, outputs: Data) -> None:
        """A graph has come to its end node."""
        if scope.parent is not None:
            scope.parent.state.outputs = outputs
            self.end(scope.parent, NodePhase.SUCCEEDED)
            return
        self._execution.state.outputs = outputs
        self._end_execution(ExecutionPhase.SUCCEEDED)

    def close(self, scope: Scope) -> None:
        """Nothing new starts in a scope, and what runs in it is stopped."""
        if scope.closing:
            return
        scope.closing = True
        if scope.parent is not None:
            if scope.parent.state.phase is not NodePhase.FAILING:
                scope.parent.state.error = scope.error
                self._journal.move(scope.parent, NodePhase.FAILING)
        elif scope.error is not None:
            self._fail_execution(scope.error)
        for index in sorted(scope.open):
            node = scope.nodes[index]
            if node is not None and index in scope.open:
                self._stop(node)
        if not scope.open:
            self.settle(scope)

    def _stop(self, node: LiveNode) -> None:
        """Stops an open node of a closing scope; what runs elsewhere is waited for."""
        if node.child is not None:
            self.close(node.child)
        elif node.attempt is None:
            self.end(node, NodePhase.ABORTED)
        elif node.attempt.executor is None:
            self.end_attempt(node, AttemptPhase.ABORTED, reason="stopped before it had a slot")
            self.end(node, NodePhase.ABORTED)
        else:
            self._journal.move(node, NodePhase.FAILING)
            self._journal.command(Stop(node.state.id, node.attempt.attempt, "the execution is ending"))

    def settle(self, scope: Scope) -> None:
        """A scope that did not reach its end node has come to rest. Does nothing when it has settled before."""
        parent = scope.parent
        if parent is not None:
            if parent.state.phase.terminal:
                return
            scope.closing = True
            parent.state.error = scope.error
            self.end(parent, NodePhase.ABORTED if scope.error is None else NodePhase.FAILED)
            return
        state = self._execution.state
        if state.phase is ExecutionPhase.ABORTING:
            self._end_execution(ExecutionPhase.ABORTED)
        elif not state.phase.terminal:
            if state.phase is not ExecutionPhase.FAILING:
                scope.closing = True
                self._fail_execution(
                    scope.error or execution_error("UnknownError", "no node says why", ErrorKind.UNKNOWN)
                )
            self._end_execution(ExecutionPhase.FAILED)

    def _fail_execution(self, error: bytes) -> None:
        if self._execution.state.phase is not ExecutionPhase.ABORTING:
            self._execution.state.error = error
            self._journal.move_execution(ExecutionPhase.FAILING)

    def _end_execution(self, phase: ExecutionPhase) -> None:
        state = self._execution.state
        state.ended_at_us = self._journal.now_us
        self._journal.move_execution(phase)
        self._journal.record(f"Execution{phase.name.capitalize()}")
        self._journal.command(End(phase))

    def end_attempt(self, node: LiveNode, phase: AttemptPhase, reason: str = "") -> None:
        """The node's current attempt is final; its slot, or its place in the line, is free."""
        attempt = node.attempt
        if attempt is None:
            raise Internal(f"node {node.state.id} has no attempt to end")
        attempt.reason = shortened(reason, EVENT_LIMIT_CHARACTERS)
        attempt.ended_at_us = attempt.ended_at_us or self._journal.now_us
        placed = attempt.executor is not None
        self._journal.move_attempt(attempt, phase)
        self._execution.running -= 1
        node.attempt = None
        self._journal.command(
            AttemptEnded(attempt.node_id, attempt.attempt) if placed else Unseek(attempt.node_id, attempt.attempt)
        )
