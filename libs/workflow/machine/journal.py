"""What a step has changed and what it asks for, while it grows.

Every phase moves here and nowhere else, by the table in `transitions`; so whatever moves is in the turn's changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flyteidl.core import execution_pb2

from libs.workflow.machine import transitions
from libs.workflow.machine.execution import Execution, LiveNode, is_leaf
from libs.workflow.machine.messages import Command
from libs.workflow.phases import AttemptPhase, ErrorKind, ExecutionPhase, NodePhase
from libs.workflow.state import AttemptState, Changes, RecordedEvent

ERROR_LIMIT_CHARACTERS = 100 * 1024
"""As FlytePropeller's events: longer messages keep their head and tail."""
EVENT_LIMIT_CHARACTERS = 1024


@dataclass(slots=True)
class Turn:
    """The outcome of a step: what to commit, then what to do."""

    changes: Changes
    commands: list[Command] = field(default_factory=list)
    started: int = 0
    """How many nodes that were ready have been looked at to start."""


class Journal:
    """One step's turn, at one moment: between `open` and `close` everybody writes what happens to `execution` here."""

    __slots__ = ("execution", "now_us", "turn")

    execution: Execution
    now_us: int
    turn: Turn

    def open(self, execution: Execution, now_us: int, turn: Turn | None) -> None:
        """A step begins; what was left of one that has failed is forgotten."""
        self.execution = execution
        self.now_us = now_us
        self.turn = Turn(Changes(execution.state)) if turn is None else turn

    def close(self) -> Turn:
        """The step has ended: its turn. Nothing here holds on to the execution any more."""
        turn = self.turn
        del self.execution, self.turn
        return turn

    def move_execution(self, phase: ExecutionPhase) -> None:
        """Raises IllegalTransition, and then changes nothing; so do the other moves."""
        state = self.execution.state
        transitions.check(transitions.EXECUTION, state.phase, phase, "execution", state.id)
        state.phase = phase
        self.execution_changed()

    def execution_changed(self) -> None:
        """Something of the execution's own row is different."""
        self.execution.state.updated_at_us = self.now_us
        self.turn.changes.execution_changed = True

    def move(self, node: LiveNode, phase: NodePhase) -> None:
        """A node goes to another phase; a final one also sets its times."""
        state = node.state
        transitions.check(transitions.NODE, state.phase, phase, "node", state.id)
        state.phase = phase
        if phase.terminal:
            state.ended_at_us = self.now_us
            state.started_at_us = state.started_at_us or self.now_us
        self.touch(node)

    def touch(self, node: LiveNode) -> None:
        """Something of a node's row is different."""
        node.state.updated_at_us = self.now_us
        self.turn.changes.nodes[node.state.id] = node.state

    def move_attempt(self, attempt: AttemptState, phase: AttemptPhase) -> None:
        """An attempt goes to another phase."""
        transitions.check(transitions.ATTEMPT, attempt.phase, phase, "attempt", (attempt.node_id, attempt.attempt))
        attempt.phase = phase
        self.touch_attempt(attempt)

    def touch_attempt(self, attempt: AttemptState) -> None:
        """Something of an attempt's row is different."""
        attempt.updated_at_us = self.now_us
        self.turn.changes.attempts[attempt.node_id, attempt.attempt] = attempt

    def record(self, kind: str, node: LiveNode | None = None, message: str = "") -> None:
        """Adds a line to the execution's story, which the machine never reads."""
        self.turn.changes.events.append(
            RecordedEvent(
                at_us=self.now_us,
                kind=kind,
                node_id=node.state.id if node else "",
                attempt=node.state.attempt if node and is_leaf(node) else -1,
                message=shortened(message, EVENT_LIMIT_CHARACTERS) if message else "",
            )
        )

    def command(self, command: Command) -> None:
        """Wishes for something, after what was wished for before."""
        self.turn.commands.append(command)


def execution_error(code: str, message: str, kind: ErrorKind) -> bytes:
    """A serialized `flyteidl.core.ExecutionError`."""
    error = execution_pb2.ExecutionError(code=code, message=shortened(message, ERROR_LIMIT_CHARACTERS), kind=int(kind))
    return bytes(error.SerializeToString())


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters: the head and the tail of a longer text, without the NUL that no database stores."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
