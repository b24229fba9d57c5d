"""Waiting for executions over bare stubs, many at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flyteidl.admin import execution_pb2 as execution
from flyteidl.core import execution_pb2 as phases
from flyteidl.core import identifier_pb2 as identifier

from tests.support.smalltasks import Registrar

SUCCEEDED = phases.WorkflowExecution.SUCCEEDED
FAILED = phases.WorkflowExecution.FAILED
ABORTED = phases.WorkflowExecution.ABORTED
FINAL = frozenset({SUCCEEDED, FAILED, ABORTED, phases.WorkflowExecution.TIMED_OUT})


def text(id_: identifier.WorkflowExecutionIdentifier) -> str:
    """`project:domain:name`, as spans and logs have it."""
    return f"{id_.project}:{id_.domain}:{id_.name}"


def end(
    registrar: Registrar, id_: identifier.WorkflowExecutionIdentifier, *, timeout_seconds: float = 60.0
) -> execution.Execution:
    """The execution once it is final; AssertionError when that takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = registrar.get(id_)
        if found.closure.phase in FINAL:
            return found
        phase = phases.WorkflowExecution.Phase.Name(found.closure.phase)
        assert time.monotonic() < deadline, f"{text(id_)} is {phase} after {timeout_seconds} s"
        time.sleep(0.05)


def succeed(
    registrar: Registrar, *ids: identifier.WorkflowExecutionIdentifier, timeout_seconds: float = 60.0
) -> Sequence[execution.Execution]:
    """Waits until all have succeeded; AssertionError for one that ended otherwise, with its error."""
    deadline = time.monotonic() + timeout_seconds
    ended = [end(registrar, id_, timeout_seconds=max(1.0, deadline - time.monotonic())) for id_ in ids]
    for found in ended:
        assert found.closure.phase == SUCCEEDED, f"{text(found.id)}: {found.closure}"
    return ended
