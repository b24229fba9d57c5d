"""The life of attempts: seeking a slot, being placed, what their executors report, and being tried again."""

from __future__ import annotations

from flyteidl.core import literals_pb2

from libs.workflow.graph import GraphNode
from libs.workflow.identity import AttemptId
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import LiveNode, Scope
from libs.workflow.machine.journal import EVENT_LIMIT_CHARACTERS, Journal, execution_error, shortened
from libs.workflow.machine.messages import (
    Accepted,
    BuildGraph,
    Disown,
    Dispatch,
    Failed,
    HandedBack,
    Lost,
    Placed,
    Report,
    Seek,
    Started,
    Stop,
    Stopped,
    Succeeded,
    Waiting,
)
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import AttemptPhase, ErrorKind, NodePhase
from libs.workflow.retry import judge, rejection_backoff_us
from libs.workflow.state import AttemptState, Data


class Attempts:
    """What happens to attempts in one step."""

    def __init__(self, journal: Journal, endings: Endings, openings: Openings) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """A task node starts: its first attempt looks for a slot."""
        self.seek_or_park(self.open(scope, spec, inputs))

    def open(self, scope: Scope, spec: GraphNode, inputs: Data) -> LiveNode:
        """A task node gets its row."""
        node = self._openings.open(scope, spec, NodePhase.QUEUED, inputs=inputs)
        node.state.task = spec.task.id if spec.task else None
        return node

    def seek_or_park(self, node: LiveNode) -> None:
        """Wishes for a slot, unless max_parallelism holds the node back."""
        execution = self._journal.execution
        limit = execution.settings.max_parallelism if node.counted else 0
        if limit and (execution.parked or execution.running >= limit):  # nobody overtakes whoever waits already
            execution.parked.append(node)
        else:
            self._seek(node)

    def unpark(self) -> bool:
        """Starts attempts that max_parallelism held back, as far as there is room; tells whether there were any."""
        execution = self._journal.execution
        limit = execution.settings.max_parallelism
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
            created_at_us=self._journal.now_us,
        )
        self._journal.execution.running += node.counted
        self._journal.touch_attempt(node.attempt)
        self._journal.command(Seek(node.state.id, node.state.attempt))

    def resume(self, node: LiveNode) -> None:
        """Asks again for what a former leader had only wished for."""
        attempt = node.attempt
        if attempt is None:
            if node.state.futures_uri is not None:
                self._journal.command(BuildGraph(node.state.id, node.state.attempt, node.state.futures_uri))
            elif node.state.wake_at_us is None:
                self._journal.execution.parked.append(node)
        elif attempt.phase is AttemptPhase.WAITING_FOR_RESOURCES:
            self._journal.command(Seek(node.state.id, attempt.attempt))
        elif node.stopping:
            self._journal.command(Stop(node.state.id, attempt.attempt, "the execution is ending"))

    def on_placed(self, event: Placed) -> None:
        """An attempt gets its executor for ever; ignored for one that needs none any more."""
        node = self._journal.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.executor is not None:
            return
        attempt = node.attempt
        attempt.executor = event.executor
        attempt.incarnation = event.incarnation
        attempt.log_uri = event.log_uri
        attempt.reason = ""
        attempt.placed_at_us = self._journal.now_us
        self._journal.move_attempt(attempt, AttemptPhase.QUEUED)
        self._journal.command(Dispatch(event.node_id, event.attempt))
        self._journal.execution.launched(node)

    def on_waiting(self, event: Waiting) -> None:
        """Placement says why no slot can come; ignored for who has got one, or knows it."""
        node = self._journal.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.executor is not None:
            return
        reason = shortened(event.reason, EVENT_LIMIT_CHARACTERS)
        if node.attempt.reason != reason:
            node.attempt.reason = reason
            self._journal.touch_attempt(node.attempt)
            self._journal.record("AttemptWaits", node, reason or "for others to end")

    def on_report(self, event: Report) -> None:
        """An executor reports; what is not about a current attempt of its own is not listened to."""
        node = self._journal.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.executor != event.executor:
            if isinstance(event, Accepted | Started):
                self._journal.command(Disown(event.node_id, event.attempt, event.executor))
            return
        if event.seq <= node.attempt.seq:
            return
        node.attempt.seq = event.seq
        self._journal.touch_attempt(node.attempt)
        if isinstance(event, Accepted):
            self._on_accepted(node, node.attempt, event.reason)
        elif isinstance(event, Started):
            self._on_started(node, node.attempt, event.at_us)
        elif isinstance(event, Succeeded):
            self._on_succeeded(node, node.attempt, event)
        elif isinstance(event, Failed):
            self._on_failed(node, node.attempt, event)
        elif isinstance(event, Stopped):
            self._on_stopped(node, event)
        elif isinstance(event, HandedBack):
            self._on_handed_back(node, node.attempt, event)
        else:
            self._turned_away(node, event.reason)

    def _on_accepted(self, node: LiveNode, attempt: AttemptState, reason: str) -> None:
        node.rejections = 0
        if attempt.phase is AttemptPhase.QUEUED:
            self._journal.move_attempt(attempt, AttemptPhase.INITIALIZING)
        reason = shortened(reason, EVENT_LIMIT_CHARACTERS)
        if attempt.phase is AttemptPhase.INITIALIZING and attempt.reason != reason:
            attempt.reason = reason
            if reason:
                self._journal.record("AttemptWaits", node, reason)

    def _on_started(self, node: LiveNode, attempt: AttemptState, at_us: int) -> None:
        node.rejections = 0
        if attempt.phase is AttemptPhase.RUNNING:
            return
        attempt.started_at_us = self._plausible(at_us, attempt)
        attempt.reason = ""
        self._journal.move_attempt(attempt, AttemptPhase.RUNNING)
        if node.state.phase is NodePhase.QUEUED:
            node.state.started_at_us = node.state.started_at_us or attempt.started_at_us
            self._journal.move(node, NodePhase.RUNNING)

    def _on_succeeded(self, node: LiveNode, attempt: AttemptState, event: Succeeded) -> None:
        self._note_start(node, attempt, event.started_us)
        attempt.ended_at_us = self._plausible(event.at_us, attempt)
        self._endings.end_attempt(node, AttemptPhase.SUCCEEDED)
        node.state.deck_uri = event.deck_uri
        if event.futures is None:
            node.state.outputs = event.outputs
            self._endings.end(node, NodePhase.SUCCEEDED)
        elif node.stopping:
            self._endings.end(node, NodePhase.ABORTED)
        else:
            self._ask_for_graph(node, event.futures)

    def _ask_for_graph(self, node: LiveNode, futures: Data) -> None:
        """The task has not produced its outputs but the nodes that will."""
        if node.state.phase is NodePhase.QUEUED:
            self._journal.move(node, NodePhase.RUNNING)
        node.state.futures_uri = futures.uri
        self._journal.touch(node)
        self._journal.record("NodesRequested", node)
        self._journal.command(BuildGraph(node.state.id, node.state.attempt, futures.uri or ""))

    def _on_failed(self, node: LiveNode, attempt: AttemptState, event: Failed) -> None:
        self._note_start(node, attempt, event.started_us)
        attempt.ended_at_us = self._plausible(event.at_us, attempt)
        node.state.deck_uri = event.deck_uri
        self._attempt_failed(node, attempt, event.code, event.message, event.kind, event.recoverable)

    def on_lost(self, event: Lost) -> None:
        """An attempt's executor is gone: the system's fault. What had not begun there is as if it had been rejected."""
        node = self._journal.execution.attempt(event.node_id, event.attempt)
        if node is None or node.attempt is None or node.attempt.incarnation != event.incarnation:
            return
        if not event.begun:
            self._turned_away(node, event.reason)
            return
        self._attempt_failed(
            node, node.attempt, "ExecutorLost", event.reason, ErrorKind.SYSTEM, True, AttemptPhase.LOST
        )

    def _on_stopped(self, node: LiveNode, event: Stopped) -> None:
        if node.stopping:
            self._endings.end_attempt(node, AttemptPhase.ABORTED, reason=event.reason)
            self._endings.end(node, NodePhase.ABORTED)
        elif node.attempt is not None:
            # Nobody here asked for it: the executor gave it up, which is no fault of the user.
            self._attempt_failed(node, node.attempt, "AttemptStopped", event.reason, ErrorKind.SYSTEM, True)

    def _turned_away(self, node: LiveNode, reason: str) -> None:
        """It has not begun, so it costs no retry. Each time in a row it waits longer for the next place."""
        self._endings.end_attempt(node, AttemptPhase.REJECTED, reason=reason)
        self._journal.record("AttemptRejected", node, reason)
        if node.stopping:
            self._endings.end(node, NodePhase.ABORTED)
        else:
            self._try_again(node, rejection_backoff_us(node.rejections))
            node.rejections += 1

    def _on_handed_back(self, node: LiveNode, attempt: AttemptState, event: HandedBack) -> None:
        """No budget pays for it, and nothing is waited for: an executor that drains gets no attempt again."""
        self._note_start(node, attempt, event.started_us)
        attempt.ended_at_us = self._plausible(event.at_us, attempt)
        self._endings.end_attempt(node, AttemptPhase.HANDED_BACK, reason=event.reason)
        self._journal.record("AttemptHandedBack", node, event.reason)
        if node.stopping:
            self._endings.end(node, NodePhase.ABORTED)
        else:
            self._try_again(node, 0)

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
        attempt.error = execution_error(code, message, kind)
        identity = AttemptId(self._journal.execution.state.key, state.id, attempt.attempt)
        verdict = judge(node.spec.retry, kind, recoverable, state.user_failures, state.system_failures, identity)
        again = verdict.again and not node.stopping
        self._endings.end_attempt(
            node, phase or (AttemptPhase.RETRYABLE_FAILED if again else AttemptPhase.FAILED), code
        )
        self._journal.record("AttemptFailed", node, f"{code}: {message}")
        if kind is ErrorKind.SYSTEM:
            state.system_failures += 1
        else:
            state.user_failures += 1
        if node.stopping:
            self._endings.end(node, NodePhase.ABORTED)
        elif verdict.delay_us is not None:
            self._try_again(node, verdict.delay_us)
        elif verdict.exhausted:
            attempts = state.attempt + 1
            self._endings.fail(node, f"RetriesExhausted|{code}", f"[{attempts} attempts] last error: {message}", kind)
        else:
            self._endings.fail(node, code, message, kind)

    def _try_again(self, node: LiveNode, delay_us: int) -> None:
        node.state.attempt += 1
        self._journal.execution.recalled(node)
        if node.state.phase is not NodePhase.QUEUED:
            self._journal.move(node, NodePhase.QUEUED)
        else:
            self._journal.touch(node)
        if delay_us > 0:
            self._journal.execution.set_timer(node, self._journal.now_us + delay_us)
            self._journal.record("AttemptDelayed", node, f"begins in {delay_us / 1e6:.3g} s")
        else:
            self.seek_or_park(node)

    def _note_start(self, node: LiveNode, attempt: AttemptState, started_us: int | None) -> None:
        """A final report may be the first that says when the task process began."""
        if started_us is not None and attempt.started_at_us is None:
            attempt.started_at_us = self._plausible(started_us, attempt)
        if node.state.started_at_us is None:
            node.state.started_at_us = attempt.started_at_us or attempt.placed_at_us

    def _plausible(self, at_us: int, attempt: AttemptState) -> int:
        """Another machine's clock, kept between the placement and now."""
        return max(min(at_us, self._journal.now_us), attempt.placed_at_us or attempt.created_at_us)
