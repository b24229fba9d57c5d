"""Which phase may follow which: the specification of the machine, as data.

An absent entry is an error that changes nothing and tells the story. Terminal phases have no followers (promise P12).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from libs.workflow.errors import Internal
from libs.workflow.phases import AttemptPhase as A
from libs.workflow.phases import ExecutionPhase as E
from libs.workflow.phases import NodePhase as N


class IllegalTransition(Internal):
    """A phase was to be followed by one that can never follow it: a bug of ours."""


EXECUTION: Mapping[E, frozenset[E]] = {
    E.QUEUED: frozenset({E.RUNNING, E.FAILING, E.ABORTING}),
    E.RUNNING: frozenset({E.SUCCEEDED, E.FAILING, E.ABORTING}),
    E.FAILING: frozenset({E.FAILED, E.TIMED_OUT}),
    E.ABORTING: frozenset({E.ABORTED}),
}

NODE: Mapping[N, frozenset[N]] = {
    N.WAITING: frozenset({N.QUEUED, N.RUNNING, N.SUCCEEDED, N.FAILED, N.SKIPPED, N.RECOVERED}),
    N.QUEUED: frozenset({N.RUNNING, N.SUCCEEDED, N.FAILING, N.FAILED, N.ABORTED}),
    # A retry puts a node back into the queue.
    N.RUNNING: frozenset({N.QUEUED, N.DYNAMIC_RUNNING, N.SUCCEEDED, N.FAILING, N.FAILED, N.ABORTED}),
    N.DYNAMIC_RUNNING: frozenset({N.SUCCEEDED, N.FAILING, N.FAILED, N.ABORTED}),
    # What was being stopped may have succeeded first.
    N.FAILING: frozenset({N.FAILED, N.ABORTED, N.SUCCEEDED}),
}

_ENDS = frozenset({A.SUCCEEDED, A.FAILED, A.RETRYABLE_FAILED, A.ABORTED, A.REJECTED, A.LOST, A.HANDED_BACK})

ATTEMPT: Mapping[A, frozenset[A]] = {
    A.WAITING_FOR_RESOURCES: frozenset({A.QUEUED, A.ABORTED}),
    A.QUEUED: frozenset({A.INITIALIZING, A.RUNNING}) | _ENDS,
    A.INITIALIZING: frozenset({A.RUNNING}) | _ENDS,
    A.RUNNING: _ENDS,
}


def check(table: Mapping[Any, frozenset[Any]], before: IntEnum, after: IntEnum, kind: str, id: object) -> None:
    """Raises IllegalTransition unless `after` may follow `before`. `kind` and `id` say whose phases they are."""
    if after not in table.get(before, ()):
        raise IllegalTransition(f"{kind} {id} cannot go from {before.name} to {after.name}")
