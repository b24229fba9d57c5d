"""How nodes, graphs and the execution end, and what an end means for everything around it.

An end goes downwards (what runs in a graph that is closing is stopped), sideways (what depended on a node becomes
ready, or is skipped) and upwards (a graph at rest ends the node whose graph it is). Nothing ends above what still runs
below it.

A graph that has failed, and was not stopped from above, runs its failure node once everything else in it is at rest.
Whatever that node does, the graph fails with the error it had.
"""

from __future__ import annotations

from libs.workflow.errors import Internal
from libs.workflow.graph import Shape
from libs.workflow.machine.execution import LiveNode, Scope
from libs.workflow.machine.journal import EVENT_LIMIT_CHARACTERS, Journal, execution_error, shortened
from libs.workflow.machine.keeping import keep
from libs.workflow.machine.messages import AttemptEnded, AttendBelow, End, Stop, Unseek
from libs.workflow.machine.timeouts import execution_timeout
from libs.workflow.phases import AttemptPhase, ErrorKind, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import EMPTY, AbortBelow, Data

_ENDING = "the execution is ending"


class Endings:
    """The ends of one step."""

    def __init__(self, journal: Journal) -> None:
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
        self._journal.execution.live.pop(node.state.id, None)
        node.state.wake_at_us = None
        if phase is NodePhase.SUCCEEDED:
            node.state.error = None  # what had failed in it, or its time, was not its end after all
        self._journal.move(node, phase)
        keep(self._journal, node)
        if phase is NodePhase.FAILED and scope.error is None and scope.items is None:
            scope.error = node.state.error
            scope.failed = node.state.id
        self.complete(node)
        node.child = None  # nobody asks for what was in it any more; the graph of a dynamic node is its own
        if scope.closing:
            if not scope.open:
                self.settle(scope)
        elif phase is NodePhase.FAILED and (scope.graph.fail_immediately or node.spec.kind is NodeKind.END):
            # Whatever the policy, without an end node there is nothing left to wait for.
            self.close(scope)

    def complete(self, node: LiveNode) -> None:
        """Counts a final node off its downstream nodes: the only place where a node becomes ready."""
        scope = node.scope
        if scope.items is not None:
            scope.items.end(node.spec.index, node.state)
            scope.nodes[node.spec.index] = None
            self._journal.execution.attend(scope)
            return
        poison = node.state.phase in (NodePhase.FAILED, NodePhase.SKIPPED)
        for target in node.spec.downstream:
            scope.missing[target] -= 1
            if poison:
                scope.poisoned.add(target)
            if scope.missing[target] == 0 and not scope.closing:
                self._journal.execution.ready.append((scope, target))
        if scope.graph.shape is Shape.CASES and node.state.phase in (NodePhase.SUCCEEDED, NodePhase.RECOVERED):
            self.finish(scope, node.state.outputs or EMPTY)

    def finish(self, scope: Scope, outputs: Data) -> None:
        """A graph has come to its end node."""
        if scope.parent is not None:
            scope.parent.state.outputs = outputs
            self.end(scope.parent, NodePhase.SUCCEEDED)
            return
        self._journal.execution.state.outputs = outputs
        self._end_execution(ExecutionPhase.SUCCEEDED)

    def close(self, scope: Scope, *, cut: bool = False) -> None:
        """Nothing new starts in a scope, and what runs in it is stopped; `cut`: by an order from above."""
        if scope.closing and (scope.cut or not cut):
            return
        first = not scope.closing
        scope.closing = True
        scope.cut = cut
        if first:
            self._show_closing(scope)
        for index in sorted(scope.open):
            node = scope.nodes[index]
            if node is not None and index in scope.open:
                self.stop(node)
        if not scope.open:
            self.settle(scope)

    def _show_closing(self, scope: Scope) -> None:
        parent = scope.parent
        if parent is None:
            if scope.error is not None:
                self._fail_execution(scope.error)
        elif parent.state.phase is not NodePhase.FAILING:
            parent.state.error = scope.error
            self._journal.move(parent, NodePhase.FAILING)

    def stop(self, node: LiveNode, cause: str = "") -> None:
        """Stops an open node, as those of a closing scope are; what runs elsewhere is told why, and waited for."""
        if node.child is not None:
            self.close(node.child, cut=True)
        elif node.state.phase is NodePhase.FAILING:
            return  # it has been told
        elif node.state.child_key is not None:
            self._journal.move(node, NodePhase.FAILING)
            self._abort_below(node.state.child_key, cause)
        elif node.attempt is None:
            self.end(node, NodePhase.ABORTED)
        elif node.attempt.executor is None:
            self.end_attempt(node, AttemptPhase.ABORTED, reason="stopped before it had a slot")
            self.end(node, NodePhase.ABORTED)
        else:
            self._journal.move(node, NodePhase.FAILING)
            self._journal.command(Stop(node.state.id, node.attempt.attempt, _ENDING))

    def settle(self, scope: Scope) -> None:
        """A scope that did not reach its end node has come to rest. Does nothing when it has settled before."""
        parent = scope.parent
        if parent is not None and parent.state.phase.terminal:
            return
        if self._hands_over_to_failure_node(scope):
            return
        if parent is not None:
            scope.closing = True
            parent.state.error = scope.error
            self.end(parent, NodePhase.ABORTED if scope.error is None else NodePhase.FAILED)
            return
        state = self._journal.execution.state
        if state.phase is ExecutionPhase.ABORTING:
            self._end_execution(ExecutionPhase.ABORTED)
        elif not state.phase.terminal:
            if state.phase is not ExecutionPhase.FAILING:
                scope.closing = True
                self._fail_execution(
                    scope.error or execution_error("UnknownError", "no node says why", ErrorKind.UNKNOWN)
                )
            timed_out = state.error == execution_timeout(self._journal.execution)
            self._end_execution(ExecutionPhase.TIMED_OUT if timed_out else ExecutionPhase.FAILED)

    def _hands_over_to_failure_node(self, scope: Scope) -> bool:
        """A scope at rest that has failed has one more node to run, if it has one for this."""
        failure = scope.graph.failure
        if failure < 0 or scope.cut or scope.error is None or scope.nodes[failure] is not None:
            return False
        if not scope.closing:
            scope.closing = True
            self._show_closing(scope)
        self._journal.execution.ready.append((scope, failure))
        return True

    def _abort_below(self, child_key: int | None = None, cause: str = "") -> None:
        state = self._journal.execution.state
        intent = state.intent
        cause = cause or intent.abort_cause or f"the execution {state.id} that launched it is ending"
        self._journal.turn.changes.aborts.append(AbortBelow(cause, intent.abort_principal, child_key))
        self._journal.command(AttendBelow())

    def _fail_execution(self, error: bytes) -> None:
        if self._journal.execution.state.phase is not ExecutionPhase.ABORTING:
            self._journal.execution.state.error = error
            self._journal.move_execution(ExecutionPhase.FAILING)
            if self._journal.execution.graph.failure < 0:  # if not, it may launch something in this very commit
                self._abort_below()

    def abort(self, cause: str) -> None:
        """Somebody wants the execution to end: everything in it and below it is stopped, without failure nodes."""
        if self._journal.execution.state.phase is not ExecutionPhase.FAILING:
            self._journal.move_execution(ExecutionPhase.ABORTING)
            self._journal.record("ExecutionAborting", message=cause)
            self._abort_below()
        self.close(self._journal.execution.root, cut=True)

    def _end_execution(self, phase: ExecutionPhase) -> None:
        state = self._journal.execution.state
        state.ended_at_us = self._journal.now_us
        if state.phase is ExecutionPhase.FAILING and self._journal.execution.graph.failure >= 0:
            self._abort_below()
        self._journal.move_execution(phase)
        self._journal.record(f"Execution{phase.name.title().replace('_', '')}")
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
        self._journal.execution.running -= node.counted
        node.attempt = None
        if attempt.started_at_us is not None:
            node.began = attempt.attempt
        self._journal.command(
            AttemptEnded(attempt.node_id, attempt.attempt) if placed else Unseek(attempt.node_id, attempt.attempt)
        )
