"""`step`: events in, changes and commands out, to a fixed point.

Rules of this package:

1. Everything that changes the state of an execution is in this package, and every phase moves in `journal`.
2. None of it knows what time it is, what a queue or a database is, or who runs attempts.
3. Its cost is proportional to what changed: a finished node touches its downstream edges, never the whole graph.
4. A stale event (of a superseded attempt, of a node that is final, seen before) changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from libs.workflow.machine.arrays import Arrays
from libs.workflow.machine.attempts import Attempts
from libs.workflow.machine.branches import Branches
from libs.workflow.machine.caching import Caching, waits
from libs.workflow.machine.children import Children
from libs.workflow.machine.deadlines import Deadlines
from libs.workflow.machine.dynamics import Dynamics
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import Execution, LiveNode
from libs.workflow.machine.gates import Gates, sleeps
from libs.workflow.machine.journal import Journal, Turn
from libs.workflow.machine.messages import (
    REPORTS,
    Accepted,
    BlobRead,
    BlobWritten,
    CacheAnswered,
    CacheFreed,
    ChildEnded,
    Disown,
    Event,
    GraphBuilt,
    IntentRead,
    Lost,
    Placed,
    Started,
    Waiting,
)
from libs.workflow.machine.openings import Openings
from libs.workflow.machine.reading import Reading
from libs.workflow.machine.recovery import Recovery
from libs.workflow.machine.restore import unfinished
from libs.workflow.machine.starts import Begin, Starts
from libs.workflow.machine.subworkflows import SubWorkflows
from libs.workflow.phases import Desired, ExecutionPhase, NodeKind


def step(execution: Execution, events: Sequence[Event], now_us: int) -> Turn:
    """`Stepper.step` for who takes one step only."""
    return Stepper().step(execution, events, now_us)


class Stepper:
    """Takes steps, one after the other, of whichever executions. Who does what in them is made once."""

    def __init__(self) -> None:
        journal = self._journal = Journal()
        endings = self._endings = Endings(journal)
        openings = Openings(journal, endings)
        attempts = self._attempts = Attempts(journal, endings, openings)
        caching = self._caching = Caching(journal, endings, openings, attempts)
        reading = self._reading = Reading(journal)
        arrays = self._arrays = Arrays(journal, endings, openings, reading)
        children = self._children = Children(journal, endings, openings)
        gates = self._gates = Gates(journal, endings, openings)
        dynamics = Dynamics(journal, endings, openings)
        self._deadlines = Deadlines(journal, endings)
        begin: dict[NodeKind, Begin] = {
            NodeKind.TASK: caching.begin,
            NodeKind.SUBWORKFLOW: SubWorkflows(openings).begin,
            NodeKind.BRANCH: Branches(journal, openings).begin,
            NodeKind.LAUNCH_PLAN: children.begin,
            NodeKind.GATE: gates.begin,
            NodeKind.ARRAY: arrays.begin,
        }
        recovery = Recovery(journal, openings)
        self._starts = Starts(journal, endings, openings, reading, attempts, arrays, begin, recovery)
        self._handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(REPORTS, attempts.on_report),
            IntentRead: self._on_intent,
            Placed: attempts.on_placed,
            Waiting: attempts.on_waiting,
            Lost: attempts.on_lost,
            BlobRead: self._on_blob_read,
            BlobWritten: self._on_blob_written,
            GraphBuilt: dynamics.on_graph_built,
            ChildEnded: children.on_ended,
            CacheAnswered: caching.on_answered,
            CacheFreed: caching.on_freed,
        }

    def step(self, execution: Execution, events: Sequence[Event], now_us: int, turn: Turn | None = None) -> Turn:
        """Folds `events` into `execution` and goes as far as it can at `now_us`.

        Where there was a step before in the same `turn`, this one adds to it, so that both are one commit.

        Raises IllegalTransition or Internal on a bug of ours; the execution must then be dropped from memory, for it
        may be half changed. Whatever users do wrong ends as an error of a node.
        """
        self._journal.open(execution, now_us, turn)
        self._run(execution, events)
        return self._journal.close()

    def place(self, execution: Execution, placed: Sequence[Placed], now_us: int, turn: Turn) -> None:
        """Tells attempts that have sought slots in this turn which they get. That is less than a step: nothing else can
        follow from it but that arrays start more items.
        """
        self._journal.open(execution, now_us, turn)
        for event in placed:
            self._attempts.on_placed(event)
        if execution.arrays:
            self._arrays.open()
            self._go_on()
        self._journal.close()

    def _run(self, execution: Execution, events: Sequence[Event]) -> None:
        state = execution.state
        if state.phase.terminal:
            self._refuse_late(events)
            return
        self._arrays.open()
        if execution.resumed:
            execution.resumed = False
            self._resume()
        for event in events:
            self._handlers[type(event)](event)
        if state.phase is ExecutionPhase.QUEUED:
            self._begin()
        if execution.timers:
            self._fire_timers()
        if execution.settings.time_allowed_us:
            self._deadlines.check()
        self._go_on()

    def _go_on(self) -> None:
        """Starts what can start now; then the step is over."""
        self._starts.start_what_is_ready()
        self._reading.close()
        self._note_next_wake()

    def _on_blob_read(self, event: BlobRead) -> None:
        self._starts.on_blob_read(event)
        self._arrays.on_blob_read(event)

    def _on_blob_written(self, event: BlobWritten) -> None:
        if not self._arrays.on_blob_written(event):
            self._starts.on_blob_written(event)

    def _refuse_late(self, events: Sequence[Event]) -> None:
        """Whatever still works for a finished execution is told to stop."""
        for event in events:
            if isinstance(event, Accepted | Started):
                self._journal.command(Disown(event.node_id, event.attempt, event.executor))

    def _begin(self) -> None:
        self._journal.move_execution(ExecutionPhase.RUNNING)
        self._journal.execution.state.started_at_us = self._journal.now_us
        self._journal.record("ExecutionStarted")
        self._journal.execution.ready.append((self._journal.execution.root, self._journal.execution.graph.start))

    def _resume(self) -> None:
        """Asks again for what a former leader had only wished for."""
        for node in unfinished(self._journal.execution):
            if node.child is not None:
                continue  # its own nodes ask
            if node.spec.kind is NodeKind.LAUNCH_PLAN:
                self._children.resume(node)
            elif node.spec.kind is NodeKind.TASK and waits(node):
                self._caching.resume(node)
            elif node.spec.kind is NodeKind.TASK:
                self._attempts.resume(node)
            elif node.spec.kind is NodeKind.GATE:
                self._gates.resume(node)

    def _note_next_wake(self) -> None:
        state = self._journal.execution.state
        wake = None if state.phase.terminal else self._journal.execution.next_wake()
        if wake != state.next_wake_at_us:
            state.next_wake_at_us = wake
            self._journal.execution_changed()

    def _on_intent(self, event: IntentRead) -> None:
        state = self._journal.execution.state
        if event.intent.generation < state.intent.generation:
            return  # it was read before what is known already
        state.intent = event.intent
        if event.intent.generation > state.observed_generation:
            state.observed_generation = event.intent.generation
            self._journal.execution_changed()
        for signal_id, value in event.intent.signals:
            self._gates.on_signal(signal_id, value)
        ending = state.phase is ExecutionPhase.ABORTING or state.phase.terminal  # an event before may have ended it
        if event.intent.desired is Desired.ABORT and not ending:
            self._endings.abort(event.intent.abort_cause)

    def _fire_timers(self) -> None:
        execution = self._journal.execution
        while (due := execution.next_timer()) is not None and due <= self._journal.now_us:
            _, node_id = heapq.heappop(execution.timers)
            node = execution.live[node_id]
            node.state.wake_at_us = None
            self._journal.touch(node)
            self._wake(node)

    def _wake(self, node: LiveNode) -> None:
        if node.spec.kind is NodeKind.ARRAY:
            self._arrays.on_timer(node)
        elif node.spec.kind is NodeKind.TASK and node.child is None:
            self._attempts.seek_or_park(node)
        elif sleeps(node.spec):
            self._gates.on_timer(node)
        else:
            self._deadlines.on_timer(node)
