"""What is said of whoever took longer than allowed."""

from __future__ import annotations

from libs.workflow.machine.execution import Execution, LiveNode
from libs.workflow.machine.journal import execution_error
from libs.workflow.phases import ErrorKind

TIMEOUT = "TimeoutExpired"


def node_timeout(node: LiveNode) -> str:
    return f"node {node.state.id} was not done {_seconds(node.spec.time_allowed_us)} after it began"


def execution_timeout(execution: Execution) -> bytes:
    """The error of an execution that took longer than its deadline allows: no other error is like it, for it names the
    execution. So an execution that ends with it has timed out.
    """
    allowed = _seconds(execution.settings.time_allowed_us)
    message = f"execution {execution.state.id} was not done {allowed} after it began"
    return execution_error(TIMEOUT, message, ErrorKind.USER)


def _seconds(us: int) -> str:
    return f"{us / 1_000_000:g} s"
