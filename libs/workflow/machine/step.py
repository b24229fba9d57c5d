"""`step`: events in, changes and commands out, to a fixed point.

Rules that hold here and nowhere else:

1. Everything that changes the state of an execution is in this file.
2. It does not know what time it is, what a queue or a database is, or who runs attempts.
3. Its cost is proportional to what changed: a finished node touches its downstream edges, never the whole graph.
4. A stale event (of a superseded attempt, of a node that is final, seen before) changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from flyteidl.core import execution_pb2, literals_pb2
from google.protobuf.message import DecodeError

from libs.workflow import binding
from libs.workflow.errors import Internal
from libs.workflow.graph import GraphNode
from libs.workflow.identity import AttemptId
from libs.workflow.machine import transitions
from libs.workflow.machine.execution import Execution, LiveNode, Scope, is_leaf
from libs.workflow.machine.messages import (
    Accepted,
    AttemptEnded,
    BlobRead,
    BlobRole,
    BlobWritten,
    Command,
    Disown,
    Dispatch,
    End,
    Event,
    Failed,
    IntentRead,
    Lost,
    Placed,
    ReadBlob,
    Rejected,
    Report,
    Seek,
    Started,
    Stop,
    Stopped,
    Succeeded,
    Unseek,
    WriteBlob,
)
from libs.workflow.machine.restore import unfinished
from libs.workflow.phases import AttemptPhase, Desired, ErrorKind, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.retry import REJECTION_BACKOFF_US, judge
from libs.workflow.state import AttemptState, Changes, Data, NodeState, RecordedEvent

INLINE_LIMIT_BYTES = 16 * 1024
"""Literal maps up to this size live in rows and messages; larger ones in the blob store."""
ERROR_LIMIT_CHARACTERS = 100 * 1024
"""As FlytePropeller's events: longer messages keep their head and tail."""


@dataclass(slots=True)
class Turn:
    """The outcome of a step: what to commit, then what to do."""

    changes: Changes
    commands: list[Command] = field(default_factory=list)

    def absorb(self, later: Turn) -> None:
        """Adds the outcome of a later step of the same execution, so that both are one commit."""
        self.changes.execution_changed |= later.changes.execution_changed
        self.changes.nodes.update(later.changes.nodes)
        self.changes.attempts.update(later.changes.attempts)
        self.changes.events.extend(later.changes.events)
        self.commands.extend(later.commands)


def step(execution: Execution, events: Sequence[Event], now_us: int) -> Turn:
    """Folds `events` into `execution` and goes as far as it can at `now_us`.

    Raises IllegalTransition or Internal on a bug of ours; the execution must then be dropped from memory, for it may be
    half changed. Whatever users do wrong ends as an error of a node.
    """
    stepper = _Step(execution, now_us)
    stepper.run(events)
    return stepper.turn


class _Step:
    """One step: the execution, the time, and the turn that grows."""

    def __init__(self, execution: Execution, now_us: int) -> None:
        self.execution = execution
        self.now_us = now_us
        self.turn = Turn(Changes(execution.state))
        self._parsed: dict[int, literals_pb2.LiteralMap] = {}

    # ------------------------------------------------------------------------------------------------ the whole

    def run(self, events: Sequence[Event]) -> None:
        state = self.execution.state
        if state.phase.terminal:
            self._refuse_late(events)
            return
        if self.execution.resumed:
            self.execution.resumed = False
            self._resume()
        for event in events:
            self._handle(event)
        if state.phase is ExecutionPhase.QUEUED:
            self._begin()
        self._fire_timers()
        self._start_what_is_ready()
        if not self.execution.awaiting:
            self.execution.blobs.clear()
        self._note_next_wake()

    def _handle(self, event: Event) -> None:
        if isinstance(event, IntentRead):
            self._on_intent(event)
        elif isinstance(event, Placed):
            self._on_placed(event)
        elif isinstance(event, Lost):
            self._on_lost(event)
        elif isinstance(event, BlobRead):
            self._on_blob_read(event)
        elif isinstance(event, BlobWritten):
            self._on_blob_written(event)
        else:
            self._on_report(event)

    def _refuse_late(self, events: Sequence[Event]) -> None:
        """Whatever still works for a finished execution is told to stop."""
        for event in events:
            if isinstance(event, Accepted | Started):
                self._command(Disown(event.node_id, event.attempt, event.executor))

    def _begin(self) -> None:
        self._move_execution(ExecutionPhase.RUNNING)
        self.execution.state.started_at_us = self.now_us
        self._record("ExecutionStarted")
        self.execution.ready.append((self.execution.root, self.execution.graph.start))

    def _resume(self) -> None:
        """Asks again for what a former leader had only wished for."""
        for node in unfinished(self.execution):
            attempt = node.attempt
            if attempt is None:
                if node.state.wake_at_us is None:
                    self.execution.parked.append(node)
            elif attempt.phase is AttemptPhase.WAITING_FOR_RESOURCES:
                self._command(Seek(node.state.id, attempt.attempt))
            elif node.stopping:
                self._command(Stop(node.state.id, attempt.attempt, "the execution is ending"))

    def _note_next_wake(self) -> None:
        state = self.execution.state
        wake = None if state.phase.terminal else self.execution.next_timer()
        if wake != state.next_wake_at_us:
            state.next_wake_at_us = wake
            self._changed()

    # ------------------------------------------------------------------------------------------ intent and timers

    def _on_intent(self, event: IntentRead) -> None:
        state = self.execution.state
        if event.intent.generation < state.intent.generation:
            return  # it was read before what is known already
        state.intent = event.intent
        if event.intent.generation > state.observed_generation:
            state.observed_generation = event.intent.generation
            self._changed()
        undecided = state.phase in (ExecutionPhase.QUEUED, ExecutionPhase.RUNNING)
        if event.intent.desired is Desired.ABORT and undecided:
            self._move_execution(ExecutionPhase.ABORTING)
            self._record("ExecutionAborting", message=event.intent.abort_cause)
            self._close(self.execution.root)

    def _fire_timers(self) -> None:
        execution = self.execution
        while (due := execution.next_timer()) is not None and due <= self.now_us:
            _, node_id = heapq.heappop(execution.timers)
            node = execution.live[node_id]
            node.state.wake_at_us = None
            self._touch(node)
            self._seek_or_park(node)

    # ----------------------------------------------------------------------------------------------- starting nodes

    def _start_what_is_ready(self) -> None:
        execution = self.execution
        while True:
            while execution.ready:
                scope, index = execution.ready.popleft()
                self._start(scope, scope.graph.nodes[index])
            if not self._unpark():
                return

    def _start(self, scope: Scope, spec: GraphNode) -> None:
        if scope.closing or scope.nodes[spec.index] is not None:
            return
        if spec.index in scope.poisoned:
            self._skip(scope, spec)
        elif spec.kind is NodeKind.START:
            self._open(scope, spec, NodePhase.SUCCEEDED, outputs=scope.inputs)
        elif self._blobs_are_here(scope, spec):
            self._start_with_inputs(scope, spec)

    def _start_with_inputs(self, scope: Scope, spec: GraphNode) -> None:
        try:
            literals = binding.resolve(spec.bindings, lambda node_id, var: self._output(scope, node_id, var))
        except binding.BindingError as error:
            self._fail_to_start(scope, spec, "BindingResolutionFailure", error.message)
            return
        serialized = literals.SerializeToString()
        if len(serialized) <= INLINE_LIMIT_BYTES:
            self._go(scope, spec, Data.of(serialized))
            return
        role = BlobRole.OUTPUTS if spec.kind is NodeKind.END else BlobRole.INPUTS
        node_id = scope.node_id(spec)
        self.execution.writing[node_id, role] = (scope, spec.index)
        self._command(WriteBlob(node_id, 0, role, serialized))

    def _go(self, scope: Scope, spec: GraphNode, data: Data) -> None:
        """Starts a node whose literal map is made: its inputs, or for an end node the outputs of its workflow."""
        if spec.kind is NodeKind.END:
            self._open(scope, spec, NodePhase.SUCCEEDED, outputs=data)
            self._finish(scope, data)
        elif spec.kind is NodeKind.SUBWORKFLOW:
            node = self._open(scope, spec, NodePhase.RUNNING, inputs=data)
            node.state.started_at_us = self.now_us
            self._run_graph(node, data)
        else:
            node = self._open(scope, spec, NodePhase.QUEUED, inputs=data)
            node.state.task = spec.task.id if spec.task else None
            self._seek_or_park(node)

    def _run_graph(self, node: LiveNode, inputs: Data) -> None:
        if node.spec.graph is None:
            raise Internal(f"node {node.state.id} has no graph to run")
        node.child = Scope(node.spec.graph, node, inputs)
        self.execution.ready.append((node.child, node.spec.graph.start))

    def _open(
        self,
        scope: Scope,
        spec: GraphNode,
        phase: NodePhase,
        inputs: Data | None = None,
        outputs: Data | None = None,
    ) -> LiveNode:
        """Gives a node its row. One that is final at once is also completed."""
        state = NodeState(
            id=scope.node_id(spec),
            spec_id=spec.id,
            parent_id=scope.parent.state.id if scope.parent else "",
            kind=spec.kind,
            inputs=inputs,
            outputs=outputs,
            created_at_us=self.now_us,
            queued_at_us=self.now_us,
        )
        node = LiveNode(scope, spec, state)
        scope.nodes[spec.index] = node
        self._move(node, phase)
        if phase.terminal:
            self._complete(node)
        else:
            scope.open.add(spec.index)
            self.execution.live[state.id] = node
        return node

    def _skip(self, scope: Scope, spec: GraphNode) -> None:
        self._open(scope, spec, NodePhase.SKIPPED)
        if spec.kind is NodeKind.END:
            self._settle(scope)

    def _fail_to_start(self, scope: Scope, spec: GraphNode, code: str, message: str) -> None:
        if scope.closing or scope.nodes[spec.index] is not None:
            return
        node = self._open(scope, spec, NodePhase.QUEUED)
        self._fail(node, code, message, ErrorKind.USER)

    # --------------------------------------------------------------------------------------------------------- data

    def _blobs_are_here(self, scope: Scope, spec: GraphNode) -> bool:
        """Asks for the blobs that the node's bindings read and that nobody has read yet."""
        execution = self.execution
        here = True
        for source in spec.sources:
            data = self._outputs_of(scope, source)
            if data is None or data.uri is None or data.uri in execution.blobs:
                continue
            here = False
            if data.uri not in execution.awaiting:
                execution.awaiting[data.uri] = {}
                self._command(ReadBlob(data.uri))
            execution.awaiting[data.uri][id(scope), spec.index] = (scope, spec.index)
        return here

    def _on_blob_read(self, event: BlobRead) -> None:
        waiting = self.execution.awaiting.pop(event.uri, {})
        try:
            if event.content is None:
                raise binding.BindingError(event.error)
            self.execution.blobs[event.uri] = _parsed(event.content)
            self.execution.ready.extend(waiting.values())
        except binding.BindingError as error:
            for scope, index in waiting.values():
                self._fail_to_start(scope, scope.graph.nodes[index], "InputsNotReadable", error.message)

    def _on_blob_written(self, event: BlobWritten) -> None:
        waiting = self.execution.writing.pop((event.node_id, event.role), None)
        if waiting is None:
            return
        scope, index = waiting
        if event.data is None:
            self._fail_to_start(scope, scope.graph.nodes[index], f"{event.role.capitalize()}NotWritable", event.error)
        elif not scope.closing:
            self._go(scope, scope.graph.nodes[index], event.data)

    def _outputs_of(self, scope: Scope, index: int) -> Data | None:
        node = scope.nodes[index]
        return None if node is None else node.state.outputs

    def _output(self, scope: Scope, node_id: str, var: str) -> literals_pb2.Literal:
        spec = scope.graph.nodes[scope.graph.index[node_id]]
        data = self._outputs_of(scope, spec.index)
        var = spec.aliases.get(var, var)
        literals = self._literals(data) if data is not None else None
        if literals is None or var not in literals.literals:
            raise binding.BindingError(f"node {node_id} has no output {var!r}")
        return literals.literals[var]

    def _literals(self, data: Data) -> literals_pb2.LiteralMap:
        """Parsed once a step, for all the nodes that read it."""
        if data.uri is not None:
            return self.execution.blobs[data.uri]
        parsed = self._parsed.get(id(data))
        if parsed is None:
            parsed = self._parsed[id(data)] = _parsed(data.inline or b"")
        return parsed

    # ----------------------------------------------------------------------------------------------------- attempts

    def _seek_or_park(self, node: LiveNode) -> None:
        execution = self.execution
        limit = execution.max_parallelism
        if limit and (execution.parked or execution.running >= limit):  # nobody overtakes whoever waits already
            execution.parked.append(node)
        else:
            self._seek(node)

    def _unpark(self) -> bool:
        """Starts attempts that max_parallelism held back, as far as there is room; tells whether there were any."""
        execution = self.execution
        limit = execution.max_parallelism
        started = False
        while execution.parked and (not limit or execution.running < limit):
            node = execution.parked.popleft()
            waits = not node.state.phase.terminal and node.attempt is None and node.state.wake_at_us is None
            if waits and not node.stopping:
                self._seek(node)
                started = True
        return started

    def _seek(self, node: LiveNode) -> None:
        node.attempt = AttemptState(
            node_id=node.state.id,
            attempt=node.state.attempt,
            phase=AttemptPhase.WAITING_FOR_RESOURCES,
            created_at_us=self.now_us,
        )
        self.execution.running += 1
        self._touch_attempt(node.attempt)
        self._command(Seek(node.state.id, node.state.attempt))

    def _on_placed(self, event: Placed) -> None:
        node = self.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.executor is not None:
            return
        attempt = node.attempt
        attempt.executor = event.executor
        attempt.incarnation = event.incarnation
        attempt.log_uri = event.log_uri
        attempt.placed_at_us = self.now_us
        self._move_attempt(attempt, AttemptPhase.QUEUED)
        self._command(Dispatch(event.node_id, event.attempt))

    def _on_report(self, event: Report) -> None:
        node = self.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.executor != event.executor:
            if isinstance(event, Accepted | Started):
                self._command(Disown(event.node_id, event.attempt, event.executor))
            return
        if event.seq <= node.attempt.seq:
            return
        node.attempt.seq = event.seq
        self._touch_attempt(node.attempt)
        if isinstance(event, Accepted):
            self._on_accepted(node, node.attempt)
        elif isinstance(event, Started):
            self._on_started(node, node.attempt, event.at_us)
        elif isinstance(event, Succeeded):
            self._on_succeeded(node, node.attempt, event)
        elif isinstance(event, Failed):
            self._on_failed(node, node.attempt, event)
        elif isinstance(event, Stopped):
            self._on_stopped(node, event)
        else:
            self._on_rejected(node, event)

    def _on_accepted(self, node: LiveNode, attempt: AttemptState) -> None:
        if attempt.phase is AttemptPhase.QUEUED:
            self._move_attempt(attempt, AttemptPhase.INITIALIZING)

    def _on_started(self, node: LiveNode, attempt: AttemptState, at_us: int) -> None:
        if attempt.phase is AttemptPhase.RUNNING:
            return
        attempt.started_at_us = self._plausible(at_us, attempt)
        self._move_attempt(attempt, AttemptPhase.RUNNING)
        if node.state.phase is NodePhase.QUEUED:
            node.state.started_at_us = node.state.started_at_us or attempt.started_at_us
            self._move(node, NodePhase.RUNNING)

    def _on_succeeded(self, node: LiveNode, attempt: AttemptState, event: Succeeded) -> None:
        self._note_start(node, attempt, event.started_us)
        attempt.ended_at_us = self._plausible(event.at_us, attempt)
        self._end_attempt(node, AttemptPhase.SUCCEEDED)
        node.state.outputs = event.outputs
        node.state.deck_uri = event.deck_uri
        self._end(node, NodePhase.SUCCEEDED)

    def _on_failed(self, node: LiveNode, attempt: AttemptState, event: Failed) -> None:
        self._note_start(node, attempt, event.started_us)
        attempt.ended_at_us = self._plausible(event.at_us, attempt)
        node.state.deck_uri = event.deck_uri
        self._attempt_failed(node, attempt, event.code, event.message, event.kind, event.recoverable)

    def _on_lost(self, event: Lost) -> None:
        node = self.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.incarnation != event.incarnation:
            return
        self._attempt_failed(
            node, node.attempt, "ExecutorLost", event.reason, ErrorKind.SYSTEM, True, AttemptPhase.LOST
        )

    def _on_stopped(self, node: LiveNode, event: Stopped) -> None:
        if node.stopping:
            self._end_attempt(node, AttemptPhase.ABORTED, reason=event.reason)
            self._end(node, NodePhase.ABORTED)
        elif node.attempt is not None:
            # Nobody here asked for it: the executor gave it up, which is no fault of the user.
            self._attempt_failed(node, node.attempt, "AttemptStopped", event.reason, ErrorKind.SYSTEM, True)

    def _on_rejected(self, node: LiveNode, event: Rejected) -> None:
        self._end_attempt(node, AttemptPhase.REJECTED, reason=event.reason)
        self._record("AttemptRejected", node, event.reason)
        if node.stopping:
            self._end(node, NodePhase.ABORTED)
        else:
            self._try_again(node, REJECTION_BACKOFF_US)

    def _attempt_failed(
        self,
        node: LiveNode,
        attempt: AttemptState,
        code: str,
        message: str,
        kind: ErrorKind,
        recoverable: bool,
        phase: AttemptPhase | None = None,
    ) -> None:
        state = node.state
        attempt.error = _error(code, message, kind)
        identity = AttemptId(self.execution.state.key, state.id, attempt.attempt)
        verdict = judge(node.spec.retry, kind, recoverable, state.user_failures, state.system_failures, identity)
        again = verdict.again and not node.stopping
        self._end_attempt(node, phase or (AttemptPhase.RETRYABLE_FAILED if again else AttemptPhase.FAILED), code)
        self._record("AttemptFailed", node, f"{code}: {message}")
        if kind is ErrorKind.SYSTEM:
            state.system_failures += 1
        else:
            state.user_failures += 1
        if node.stopping:
            self._end(node, NodePhase.ABORTED)
        elif verdict.delay_us is not None:
            self._try_again(node, verdict.delay_us)
        elif verdict.exhausted:
            attempts = state.attempt + 1
            self._fail(node, f"RetriesExhausted|{code}", f"[{attempts} attempts] last error: {message}", kind)
        else:
            self._fail(node, code, message, kind)

    def _try_again(self, node: LiveNode, delay_us: int) -> None:
        node.state.attempt += 1
        if node.state.phase is not NodePhase.QUEUED:
            self._move(node, NodePhase.QUEUED)
        else:
            self._touch(node)
        if delay_us > 0:
            self.execution.set_timer(node, self.now_us + delay_us)
        else:
            self._seek_or_park(node)

    def _end_attempt(self, node: LiveNode, phase: AttemptPhase, reason: str = "") -> None:
        attempt = node.attempt
        if attempt is None:
            raise Internal(f"node {node.state.id} has no attempt to end")
        attempt.reason = reason
        attempt.ended_at_us = attempt.ended_at_us or self.now_us
        placed = attempt.executor is not None
        self._move_attempt(attempt, phase)
        self.execution.running -= 1
        node.attempt = None
        self._command(
            AttemptEnded(attempt.node_id, attempt.attempt) if placed else Unseek(attempt.node_id, attempt.attempt)
        )

    def _note_start(self, node: LiveNode, attempt: AttemptState, started_us: int | None) -> None:
        """A final report may be the first that says when the task process began."""
        if started_us is not None and attempt.started_at_us is None:
            attempt.started_at_us = self._plausible(started_us, attempt)
        if node.state.started_at_us is None:
            node.state.started_at_us = attempt.started_at_us or attempt.placed_at_us

    def _plausible(self, at_us: int, attempt: AttemptState) -> int:
        """Another machine's clock, kept between the placement and now."""
        return max(min(at_us, self.now_us), attempt.placed_at_us or attempt.created_at_us)

    # ---------------------------------------------------------------------------------------------------- ending

    def _fail(self, node: LiveNode, code: str, message: str, kind: ErrorKind) -> None:
        """Ends a node by a failure of its own."""
        node.state.error = _error(code, message, kind)
        self._record("NodeFailed", node, f"{code}: {message}")
        self._end(node, NodePhase.FAILED)

    def _end(self, node: LiveNode, phase: NodePhase) -> None:
        """A node is final: what depends on it goes on, is skipped, or is stopped."""
        scope = node.scope
        scope.open.discard(node.spec.index)
        self.execution.live.pop(node.state.id, None)
        node.state.wake_at_us = None
        self._move(node, phase)
        if phase is NodePhase.FAILED:
            scope.error = scope.error or node.state.error
        self._complete(node)
        if phase is NodePhase.FAILED and (scope.graph.fail_immediately or node.spec.kind is NodeKind.END):
            # Whatever the policy, without an end node there is nothing left to wait for.
            self._close(scope)
        elif scope.closing and not scope.open:
            self._settle(scope)

    def _complete(self, node: LiveNode) -> None:
        """Counts a final node off its downstream nodes: the only place where a node becomes ready."""
        scope = node.scope
        poison = node.state.phase in (NodePhase.FAILED, NodePhase.SKIPPED)
        for target in node.spec.downstream:
            scope.missing[target] -= 1
            if poison:
                scope.poisoned.add(target)
            if scope.missing[target] == 0 and not scope.closing:
                self.execution.ready.append((scope, target))

    def _finish(self, scope: Scope, outputs: Data) -> None:
        """A graph has come to its end node."""
        if scope.parent is not None:
            scope.parent.state.outputs = outputs
            self._end(scope.parent, NodePhase.SUCCEEDED)
            return
        self.execution.state.outputs = outputs
        self._end_execution(ExecutionPhase.SUCCEEDED)

    def _close(self, scope: Scope) -> None:
        """Nothing new starts in a scope, and what runs in it is stopped."""
        if scope.closing:
            return
        scope.closing = True
        if scope.parent is not None:
            if scope.parent.state.phase is not NodePhase.FAILING:
                scope.parent.state.error = scope.error
                self._move(scope.parent, NodePhase.FAILING)
        elif scope.error is not None:
            self._fail_execution(scope.error)
        for index in sorted(scope.open):
            node = scope.nodes[index]
            if node is not None and index in scope.open:
                self._stop(node)
        if not scope.open:
            self._settle(scope)

    def _stop(self, node: LiveNode) -> None:
        """Stops an open node of a closing scope; what runs elsewhere is waited for."""
        if node.child is not None:
            self._close(node.child)
        elif node.attempt is None:
            self._end(node, NodePhase.ABORTED)
        elif node.attempt.executor is None:
            self._end_attempt(node, AttemptPhase.ABORTED, reason="stopped before it had a slot")
            self._end(node, NodePhase.ABORTED)
        else:
            self._move(node, NodePhase.FAILING)
            self._command(Stop(node.state.id, node.attempt.attempt, "the execution is ending"))

    def _settle(self, scope: Scope) -> None:
        """A scope that did not reach its end node has come to rest. Does nothing when it has settled before."""
        parent = scope.parent
        if parent is not None:
            if parent.state.phase.terminal:
                return
            scope.closing = True
            parent.state.error = scope.error
            self._end(parent, NodePhase.ABORTED if scope.error is None else NodePhase.FAILED)
            return
        state = self.execution.state
        if state.phase is ExecutionPhase.ABORTING:
            self._end_execution(ExecutionPhase.ABORTED)
        elif not state.phase.terminal:
            if state.phase is not ExecutionPhase.FAILING:
                scope.closing = True
                self._fail_execution(scope.error or _error("UnknownError", "no node says why", ErrorKind.UNKNOWN))
            self._end_execution(ExecutionPhase.FAILED)

    def _fail_execution(self, error: bytes) -> None:
        if self.execution.state.phase is not ExecutionPhase.ABORTING:
            self.execution.state.error = error
            self._move_execution(ExecutionPhase.FAILING)

    def _end_execution(self, phase: ExecutionPhase) -> None:
        state = self.execution.state
        state.ended_at_us = self.now_us
        self._move_execution(phase)
        self._record(f"Execution{phase.name.capitalize()}")
        self._command(End(phase))

    # ------------------------------------------------------------------------------------------------- bookkeeping

    def _move_execution(self, phase: ExecutionPhase) -> None:
        state = self.execution.state
        transitions.check(transitions.EXECUTION, state.phase, phase, f"execution {state.id}")
        state.phase = phase
        self._changed()

    def _changed(self) -> None:
        self.execution.state.updated_at_us = self.now_us
        self.turn.changes.execution_changed = True

    def _move(self, node: LiveNode, phase: NodePhase) -> None:
        transitions.check(transitions.NODE, node.state.phase, phase, f"node {node.state.id}")
        node.state.phase = phase
        if phase.terminal:
            node.state.ended_at_us = self.now_us
            node.state.started_at_us = node.state.started_at_us or self.now_us
        self._touch(node)

    def _touch(self, node: LiveNode) -> None:
        node.state.updated_at_us = self.now_us
        self.turn.changes.nodes[node.state.id] = node.state

    def _move_attempt(self, attempt: AttemptState, phase: AttemptPhase) -> None:
        transitions.check(
            transitions.ATTEMPT, attempt.phase, phase, f"attempt {attempt.attempt} of node {attempt.node_id}"
        )
        attempt.phase = phase
        self._touch_attempt(attempt)

    def _touch_attempt(self, attempt: AttemptState) -> None:
        attempt.updated_at_us = self.now_us
        self.turn.changes.attempts[attempt.node_id, attempt.attempt] = attempt

    def _record(self, kind: str, node: LiveNode | None = None, message: str = "") -> None:
        self.turn.changes.events.append(
            RecordedEvent(
                at_us=self.now_us,
                kind=kind,
                node_id=node.state.id if node else "",
                attempt=node.state.attempt if node and is_leaf(node) else -1,
                message=_shortened(message, 1024),
            )
        )

    def _command(self, command: Command) -> None:
        self.turn.commands.append(command)


def _error(code: str, message: str, kind: ErrorKind) -> bytes:
    error = execution_pb2.ExecutionError(code=code, message=_shortened(message, ERROR_LIMIT_CHARACTERS), kind=int(kind))
    return bytes(error.SerializeToString())


def _parsed(serialized: bytes) -> literals_pb2.LiteralMap:
    """What a task has written may be anything. Raises BindingError."""
    try:
        return literals_pb2.LiteralMap.FromString(serialized)
    except DecodeError as error:
        raise binding.BindingError(f"what was written there is no literal map: {error}") from None


def _shortened(text: str, limit: int) -> str:
    """At most `limit` characters: the head and the tail of a longer text."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
