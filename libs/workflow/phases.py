"""The phases of executions, nodes and attempts, and which of them are final.

The numbers are stored and are therefore never reused. Where Flyte has the phase, its number is Flyte's
(`flyteidl.core.WorkflowExecution.Phase`, `NodeExecution.Phase`, `TaskExecution.Phase`), so that what goes to Flyte's
wire is a plain integer; phases of our own start at 20.
"""

from __future__ import annotations

from enum import IntEnum


class ExecutionPhase(IntEnum):
    """Where a workflow execution stands.

    UNDEFINED is never stored: an accepted execution is QUEUED until a leader's first turn. FAILING and ABORTING mean
    that the end is decided while attempts are still being stopped; SUCCEEDING is not used, because outputs and the
    phase SUCCEEDED are one commit.
    """

    UNDEFINED = 0
    QUEUED = 1
    RUNNING = 2
    SUCCEEDING = 3
    SUCCEEDED = 4
    FAILING = 5
    FAILED = 6
    ABORTED = 7
    TIMED_OUT = 8
    ABORTING = 9

    terminal: bool
    """Whether it is final: told below, once, for every turn asks many times."""


class NodeKind(IntEnum):
    """What a node does when its turn comes."""

    START = 1
    END = 2
    TASK = 3
    SUBWORKFLOW = 4
    BRANCH = 5
    LAUNCH_PLAN = 6
    GATE = 7
    ARRAY = 8


class NodePhase(IntEnum):
    """Where a node execution stands.

    WAITING is the state before a node is ready; such nodes have no row and are invisible to clients. QUEUED: inputs
    are resolved, an attempt waits for a slot or for its back-off. RUNNING: an attempt runs, or the node's own nodes
    do. FAILING: the outcome is decided, something below is still being stopped.
    """

    WAITING = 0
    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILING = 4
    FAILED = 5
    ABORTED = 6
    SKIPPED = 7
    TIMED_OUT = 8
    DYNAMIC_RUNNING = 9
    RECOVERED = 10

    terminal: bool
    """Whether it is final: told below, once, for every turn asks many times."""


class AttemptPhase(IntEnum):
    """Where one attempt of a task node stands.

    WAITING_FOR_RESOURCES: no executor has been chosen. QUEUED: an executor is committed, it has not started yet.
    RETRYABLE_FAILED is ours and Flyte's wire shows it as FAILED. REJECTED is ours: the executor had no slot after all;
    it costs no retry and shows as ABORTED. LOST is ours: the executor vanished; it shows as FAILED. HANDED_BACK is
    ours: the executor drains and has ended it; it costs no retry and shows as ABORTED.
    """

    UNDEFINED = 0
    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    ABORTED = 4
    FAILED = 5
    INITIALIZING = 6
    WAITING_FOR_RESOURCES = 7
    RETRYABLE_FAILED = 8
    REJECTED = 20
    LOST = 21
    HANDED_BACK = 22

    terminal: bool
    """Whether it is final: told below, once, for every turn asks many times."""


class Desired(IntEnum):
    """What `admin` wants of an execution: the only phase-like column that the propeller does not write."""

    RUN = 1
    ABORT = 2


class CacheStatus(IntEnum):
    """How a task node met the cache. Numbers of `flyteidl.core.CatalogCacheStatus`."""

    DISABLED = 0
    MISS = 1
    HIT = 2
    POPULATED = 3
    LOOKUP_FAILURE = 4
    PUT_FAILURE = 5
    SKIPPED = 6
    EVICTED = 7


class ReservationStatus(IntEnum):
    """Whether a node is the one that computes a value others wait for. Numbers of `CatalogReservation.Status`."""

    DISABLED = 0
    ACQUIRED = 1
    EXISTS = 2
    RELEASED = 3
    FAILURE = 4


class ErrorKind(IntEnum):
    """Who is to blame, which decides the retry budget. Numbers of `flyteidl.core.ExecutionError.ErrorKind`."""

    UNKNOWN = 0
    USER = 1
    SYSTEM = 2


for _execution in ExecutionPhase:
    _execution.terminal = _execution in (
        ExecutionPhase.SUCCEEDED,
        ExecutionPhase.FAILED,
        ExecutionPhase.ABORTED,
        ExecutionPhase.TIMED_OUT,
    )
for _node in NodePhase:
    _node.terminal = _node in (
        NodePhase.SUCCEEDED,
        NodePhase.FAILED,
        NodePhase.ABORTED,
        NodePhase.SKIPPED,
        NodePhase.TIMED_OUT,
        NodePhase.RECOVERED,
    )
for _attempt in AttemptPhase:
    _attempt.terminal = _attempt in (
        AttemptPhase.SUCCEEDED,
        AttemptPhase.ABORTED,
        AttemptPhase.FAILED,
        AttemptPhase.RETRYABLE_FAILED,
        AttemptPhase.REJECTED,
        AttemptPhase.LOST,
        AttemptPhase.HANDED_BACK,
    )
