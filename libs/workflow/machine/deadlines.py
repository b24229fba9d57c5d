"""Time that is allowed, and what becomes of those who need more.

    whose                               set by                              counts from           when it is over
    attempt of a task                   `timeout` of its node               its start (executor)  a failure of the user
    sub-workflow, branch, launch plan   the same                            its start             the node fails
    gate                                the same                            its start             the node fails
    nodes that a task asked for         `timeout` of the task's node        their start           the task's node fails
    items of an array                   `timeout` of item or array          as their kind         as their kind
    execution                           annotation `airscrew/deadline`      its first turn        it is TIMED_OUT

What waits for a slot, for a pause to end, or for whoever computes the same, has not started. What runs below a node or
an execution that fails so is stopped before it ends, and its failure node runs, as after any other failure. Whatever
succeeds while it is being stopped has succeeded.
"""

from __future__ import annotations

from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import LiveNode
from libs.workflow.machine.journal import Journal, execution_error
from libs.workflow.machine.timeouts import TIMEOUT, execution_timeout, node_timeout
from libs.workflow.phases import ErrorKind, NodePhase


class Deadlines:
    """What is over in one step."""

    def __init__(self, journal: Journal, endings: Endings) -> None:
        self._journal = journal
        self._endings = endings

    def on_timer(self, node: LiveNode) -> None:
        """A node that is no attempt has had its time."""
        if node.state.phase is NodePhase.FAILING:
            return
        message = node_timeout(node)
        if node.child is None and node.state.child_key is None:
            self._endings.fail(node, TIMEOUT, message, ErrorKind.USER)
            return
        self._journal.record("NodeTimedOut", node, message)
        node.state.error = execution_error(TIMEOUT, message, ErrorKind.USER)
        if node.child is not None:
            node.child.error = node.state.error
            self._endings.close(node.child)
        else:
            self._endings.stop(node, f"{message} in execution {self._journal.execution.state.id}")

    def check(self) -> None:
        """Ends the execution if it has had its time."""
        deadline_us = self._journal.execution.deadline_us
        if deadline_us is not None and deadline_us <= self._journal.now_us:
            self._journal.execution.root.error = execution_timeout(self._journal.execution)
            self._endings.close(self._journal.execution.root)
