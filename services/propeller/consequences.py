"""What follows from a turn: what it asks at once, and what it wishes for once it is durable (promise P3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from libs.runtime.clock import Clock
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution, Turn
from libs.workflow.machine import messages as m
from services.propeller.outside import QUESTIONS, Outside
from services.propeller.placement import Placement
from services.propeller.spans import Spans


class Durable(Protocol):
    """A turn that has been committed, or that has changed nothing."""

    @property
    def events(self) -> list[m.Event]: ...

    @property
    def turn(self) -> Turn: ...

    @property
    def rows(self) -> int: ...

    @property
    def started_us(self) -> int: ...


class Consequences:
    """Carries out the commands of one leader's turns."""

    def __init__(
        self,
        outside: Outside,
        placement: Placement,
        spans: Spans,
        clock: Clock,
        attend: Callable[[int, str, int], None],
    ) -> None:
        """`attend` gives a key a turn, in a lane, with a priority."""
        self._outside = outside
        self._placement = placement
        self._spans = spans
        self._clock = clock
        self._attend = attend
        self.last_commit = (0, 0)
        """When the commit that turns follow from began and ended."""
        self._carriers: dict[type, Callable[[Execution, Any], None]] = {
            m.Dispatch: self._dispatch,
            m.Stop: self._stop,
            m.Disown: self._disown,
            m.AttendChild: self._attend_child,
            m.LookUpCache: outside.look_up_cache,
            m.LookUpChild: outside.look_up_child,
            m.AttendBelow: lambda _execution, _command: outside.attend_below(),
            m.End: lambda execution, _command: outside.ended(execution),
        }
        """What follows from a committed turn, by the kind of command; the others have been answered before."""

    def ask(self, execution: Execution, turn: Turn) -> None:
        """Passes on what the machine asks, which needs no commit before."""
        for command in turn.commands:
            if isinstance(command, QUESTIONS):
                self._outside.ask(execution, command)

    def follow(self, execution: Execution, opened: Durable) -> None:
        """Does what a turn that is durable now has wished for, and acknowledges what it has folded in."""
        if self._spans.enabled and opened.rows:
            self._spans.turn(opened.turn.changes, opened.started_us, self._clock.now_us(), self.last_commit)
        for command in opened.turn.commands:
            carry_out = self._carriers.get(type(command))
            if carry_out is not None:
                carry_out(execution, command)
        placed = False
        for event in opened.events:
            if isinstance(event, m.ENDS):
                identity = AttemptId(execution.state.key, event.node_id, event.attempt)
                self._outside.acknowledge(identity, event.executor, event.seq)
            elif isinstance(event, m.Placed):
                placed = True
        if placed:
            self._release_unused(execution, opened.events, opened.turn)

    def _dispatch(self, execution: Execution, command: m.Dispatch) -> None:
        self._outside.dispatch(execution, command.node_id, command.attempt)

    def _stop(self, execution: Execution, command: m.Stop) -> None:
        node = execution.attempt(command.node_id, command.attempt)
        if node is not None and node.attempt is not None and node.attempt.executor is not None:
            identity = AttemptId(execution.state.key, command.node_id, command.attempt)
            self._outside.stop(identity, node.attempt.executor, command.reason)

    def _disown(self, execution: Execution, command: m.Disown) -> None:
        self._outside.disown(AttemptId(execution.state.key, command.node_id, command.attempt), command.executor)

    def _attend_child(self, execution: Execution, command: m.AttendChild) -> None:
        self._attend(command.child_key, execution.state.id.project, execution.settings.priority)

    def _release_unused(self, execution: Execution, events: Iterable[m.Event], turn: Turn) -> None:
        """Slots taken for an attempt that did not want them any more."""
        used = {(command.node_id, command.attempt) for command in turn.commands if isinstance(command, m.Dispatch)}
        for event in events:
            if isinstance(event, m.Placed) and (event.node_id, event.attempt) not in used:
                self._placement.release(AttemptId(execution.state.key, event.node_id, event.attempt))
