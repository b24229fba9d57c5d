"""How a turn gets the slots that it seeks, so that placement and attempt are one commit."""

from __future__ import annotations

from itertools import islice

from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution, Stepper, Turn, interruptible
from libs.workflow.machine import messages as m
from services.propeller.assignments import Assignments
from services.propeller.placement import Place, Placement


class Placing:
    """Between the turns of one leader and its placement."""

    def __init__(self, placement: Placement, assignments: Assignments, stepper: Stepper) -> None:
        self._placement = placement
        self._assignments = assignments
        self._stepper = stepper

    def hold(self, execution: Execution) -> None:
        """An execution that was just read has its slots already."""
        for node in execution.live.values():
            attempt = node.attempt
            if attempt is not None and attempt.executor is not None:
                identity = AttemptId(execution.state.key, attempt.node_id, attempt.attempt)
                self._placement.hold(identity, node.spec.slots, attempt.executor, execution.state.id.project)

    def place(self, execution: Execution, turn: Turn, now_us: int) -> None:
        """Takes slots that are free for what the turn seeks; what seeks one no longer gives it back.

        In rounds: what has got its slot may make room for more that seeks one.
        """
        seen = 0
        while seen < len(turn.commands):
            new, seen = islice(turn.commands, seen, None), len(turn.commands)
            placed: list[m.Placed] = []
            for command in new:
                if isinstance(command, m.Seek):
                    event = self._seek(execution, command, now_us)
                    if event is not None:
                        placed.append(event)
                elif isinstance(command, (m.Unseek, m.AttemptEnded)):
                    self._placement.release(AttemptId(execution.state.key, command.node_id, command.attempt))
            if placed:
                self._stepper.place(execution, placed, now_us, turn)

    def _seek(self, execution: Execution, command: m.Seek, now_us: int) -> m.Placed | None:
        node = execution.live.get(command.node_id)
        if node is None:
            return None
        identity = AttemptId(execution.state.key, command.node_id, command.attempt)
        place = self._placement.seek(
            identity,
            node.spec.slots,
            now_us,
            project=execution.state.id.project,
            priority=execution.settings.priority,
            interruptible=interruptible(execution, node),
            task=node.spec.task.digest if node.spec.task else None,
        )
        return None if place is None else self.placed(execution, identity, place)

    def placed(self, execution: Execution, attempt: AttemptId, place: Place) -> m.Placed:
        """What the execution is told of the place that an attempt of it has got."""
        log_uri = self._assignments.log_uri(execution, attempt.node, attempt.attempt)
        return m.Placed(attempt.node, attempt.attempt, place.executor, place.incarnation, log_uri)
