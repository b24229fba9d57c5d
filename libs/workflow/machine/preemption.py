"""May an attempt run on a machine that can be taken away at any moment?

What the node says counts, else the execution, else any workflow around the node. An attempt that is the last the
system's own retries allow is never put there: losing it would fail the node.
"""

from __future__ import annotations

from libs.workflow.machine.execution import Execution, LiveNode, Scope


def interruptible(execution: Execution, node: LiveNode) -> bool:
    """Whether the present attempt of a node may."""
    if node.state.system_failures >= node.spec.retry.system_retries:
        return False
    if node.spec.interruptible is not None:
        return node.spec.interruptible
    if execution.settings.interruptible is not None:
        return execution.settings.interruptible
    scope: Scope | None = node.scope
    while scope is not None:
        if scope.graph.interruptible:
            return True
        scope = scope.parent.scope if scope.parent is not None else None
    return False
