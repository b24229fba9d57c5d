"""Drives the machine without any I/O: a store that is a dictionary, executors that are a list of what runs.

`World` carries out the machine's commands, in an order that the test draws; every turn is "committed" by copying what
it changed, so that a crash at any moment can be played by restoring from the copies.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from libs.workflow.graph import Graph
from libs.workflow.machine import Execution, Turn, new_execution, restore, step
from libs.workflow.machine import messages as m
from libs.workflow.machine.invariants import violations
from libs.workflow.phases import Desired, ErrorKind
from libs.workflow.state import AttemptState, ExecutionState, Intent, NodeState, Snapshot
from tests.support.graphs import added

OUTCOMES = ("succeed", "succeed", "succeed", "recoverable", "fatal", "system", "lost", "reject")


@dataclass
class World:
    """One execution, its rows, and everything outside that answers it."""

    execution: Execution
    graph: Graph
    outcome: Callable[[str, int], str]
    """What becomes of an attempt, by node id and attempt number."""
    dice: random.Random
    now_us: int = 1_000_000
    nodes: dict[str, NodeState] = field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptState] = field(default_factory=dict)
    state: ExecutionState = field(init=False)
    seeking: list[tuple[str, int]] = field(default_factory=list)
    running: dict[tuple[str, int], str] = field(default_factory=dict)
    """Attempts that are being worked on, and the executor that has them."""
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    stopping: set[tuple[str, int]] = field(default_factory=set)
    intent: Intent = field(default_factory=lambda: Intent(1, Desired.RUN))
    ended: bool = False
    touched: int = 0

    def __post_init__(self) -> None:
        self.state = copy.copy(self.execution.state)

    # ------------------------------------------------------------------------------------------------------ turns

    def turn(self, *events: m.Event) -> Turn:
        """One turn: step, commit, carry out."""
        final = {node_id: copy.copy(node) for node_id, node in self.nodes.items() if node.phase.terminal}
        turn = step(self.execution, events, self.now_us)
        self.touched = len(turn.changes.nodes)
        self._commit(turn)
        for node_id, before in final.items():
            assert self.nodes[node_id] == before, f"final node {node_id} has changed"
        assert violations(self.execution) == []
        for command in turn.commands:
            self._carry_out(command)
        return turn

    def _commit(self, turn: Turn) -> None:
        if turn.changes.execution_changed:
            self.state = copy.copy(turn.changes.execution)
        for node_id, node in turn.changes.nodes.items():
            self.nodes[node_id] = copy.copy(node)
        for key, attempt in turn.changes.attempts.items():
            self.attempts[key] = copy.copy(attempt)

    def _carry_out(self, command: m.Command) -> None:
        if isinstance(command, m.Seek):
            self.seeking.append((command.node_id, command.attempt))
        elif isinstance(command, m.Unseek):
            if (command.node_id, command.attempt) in self.seeking:
                self.seeking.remove((command.node_id, command.attempt))
        elif isinstance(command, m.Dispatch):
            self._start((command.node_id, command.attempt))
        elif isinstance(command, m.Stop):
            self.stopping.add((command.node_id, command.attempt))
        elif isinstance(command, m.End):
            self.ended = True

    def _start(self, attempt: tuple[str, int]) -> None:
        if attempt not in self.running:
            self.starts[attempt] = self.starts.get(attempt, 0) + 1
        self.running[attempt] = self.attempts[attempt].executor or ""

    # ------------------------------------------------------------------------------------------- what may come next

    def begin(self) -> Turn:
        return self.turn(m.IntentRead(self.intent))

    def abort(self) -> Turn:
        self.intent = Intent(2, Desired.ABORT, "enough", "somebody")
        return self.turn(m.IntentRead(self.intent))

    def crash(self) -> Turn:
        """All memory is lost; a new leader reads the rows, and executors tell what they run."""
        open_attempts = [copy.copy(attempt) for attempt in self.attempts.values() if not attempt.phase.terminal]
        nodes = [copy.copy(node) for node in self.nodes.values()]
        self.dice.shuffle(nodes)
        self.seeking.clear()
        self.stopping.clear()
        snapshot = Snapshot(copy.copy(self.state), nodes, open_attempts)
        self.execution = restore(snapshot, self.graph)
        return self.turn(m.IntentRead(self.intent))

    def proceed(self) -> bool:
        """Lets one thing happen that can happen; False when nothing can."""
        choices: list[Callable[[], None]] = [
            *(lambda seek=seek: self._place(seek) for seek in self.seeking),
            *(lambda attempt=attempt: self._report(attempt) for attempt in self.running),
        ]
        if not choices:
            wake = self.execution.state.next_wake_at_us
            if wake is None:
                return False
            self.now_us = max(self.now_us, wake)
            self.turn()
            return True
        self.now_us += self.dice.randrange(1000)
        self.dice.choice(choices)()
        return True

    def _place(self, seek: tuple[str, int]) -> None:
        self.seeking.remove(seek)
        self.turn(m.Placed(*seek, "executor", "life-1", "log"))

    def _report(self, attempt: tuple[str, int]) -> None:
        executor = self.running[attempt]
        row = self.attempts[attempt]
        if attempt in self.stopping and self.dice.random() < 0.7:
            event: m.Event = m.Stopped(*attempt, executor, 9, self.now_us, "told to")
        elif row.started_at_us is None and self.dice.random() < 0.5:
            self.turn(m.Started(*attempt, executor, 1, self.now_us))
            return
        else:
            event = self._outcome(attempt, executor)
        del self.running[attempt]
        self.stopping.discard(attempt)
        self.turn(event)
        if self.dice.random() < 0.2:
            self.turn(event)  # a report may come twice

    def _outcome(self, attempt: tuple[str, int], executor: str) -> m.Event:
        outcome = self.outcome(*attempt)
        if outcome == "succeed":
            outputs = added(self.nodes[attempt[0]].inputs)
            return m.Succeeded(*attempt, executor, 9, self.now_us, None, outputs)
        if outcome == "lost":
            return m.Lost(*attempt, "life-1", "gone")
        if outcome == "reject":
            return m.Rejected(*attempt, executor, 9, "no room")
        kind = ErrorKind.SYSTEM if outcome == "system" else ErrorKind.USER
        return m.Failed(*attempt, executor, 9, self.now_us, None, outcome, outcome, kind, outcome != "fatal")

    def run(self) -> None:
        """Until nothing can happen any more."""
        while self.proceed():
            pass


def world(
    state: ExecutionState,
    graph: Graph,
    outcome: Callable[[str, int], str] = lambda node, attempt: "succeed",
    seed: int = 0,
) -> World:
    """A world around an execution that has not begun."""
    return World(new_execution(copy.copy(state), graph), graph, outcome, random.Random(seed))
