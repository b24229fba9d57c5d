"""The story of executions in the log: what went wrong is told, what went well only to those who debug.

Each line carries the execution, node and attempt that it is about, and the ids of its trace. It is written after the
commit, so the log never tells what did not happen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from libs.workflow.state import Changes, RecordedEvent
from services.propeller.spans import root_context

logger = logging.getLogger(__name__)

ORDINARY = frozenset({"ExecutionStarted", "ExecutionSucceeded"})


def tell(turns: Iterable[Changes]) -> None:
    """Logs the events of committed turns."""
    all_of_it = logger.isEnabledFor(logging.DEBUG)
    for changes in turns:
        for event in changes.events:
            if all_of_it or event.kind not in ORDINARY:
                logger.log(
                    logging.DEBUG if event.kind in ORDINARY else logging.INFO,
                    "%s%s",
                    event.kind,
                    f": {event.message}" if event.message else "",
                    extra=_about(changes, event),
                )


def _about(changes: Changes, event: RecordedEvent) -> dict[str, object]:
    context = root_context(changes.execution)
    about: dict[str, object] = {"execution": str(changes.execution.id)}
    if event.node_id:
        about["node"] = event.node_id
    if event.attempt >= 0:
        about["attempt"] = event.attempt
    if context is not None:
        span = context.child("node", event.node_id) if event.node_id else context
        about |= {"trace_id": span.trace_id, "span_id": span.span_id}
    return about
