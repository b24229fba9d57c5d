"""Tells attempts why they wait, where no slot can come as things are: an executor would have to come, or to go.

Those who only wait until others have ended are told nothing: that changes all the time, and whoever wants to know it
asks (`airscrew explain`). What is told is told once, when an attempt has waited for a while, and again when the reason
is another one. It becomes part of the attempt's row, so it is told in bounded portions: when the last of many executors
goes, a hundred thousand rows need not be written before anything else is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from libs.runtime.clock import Clock
from libs.workflow import waits
from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from libs.workflow.waits import Wait
from services.propeller.placement import Placement
from services.propeller.rooms import Room, Rooms, Wish

LOOK_SECONDS = 0.5
PATIENCE_US = 2_000_000
"""Who waits shorter is told nothing: executors come back, a leader begins."""
PORTION = 1_000
"""Attempts that are told at a time."""


class Waits:
    """What the waiting attempts of a leader have been told."""

    def __init__(self, placement: Placement, clock: Clock, tell: Callable[[int, m.Event], None]) -> None:
        """`tell` puts an event into an execution's inbox."""
        self._placement = placement
        self._clock = clock
        self._tell = tell
        self._told: dict[AttemptId, str] = {}
        self._reasons: dict[Wish, str] = {}
        """As of the last look."""
        self._to_look_at: deque[AttemptId] = deque()
        """Whose reason may be new."""

    def adopt(self, execution: Execution) -> None:
        """What the attempts of a freshly read execution have been told before."""
        for node in execution.live.values():
            attempt = node.attempt
            if attempt is not None and attempt.executor is None and attempt.reason:
                self._told[AttemptId(execution.state.key, attempt.node_id, attempt.attempt)] = attempt.reason

    async def watch(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Tells some of those whose reason is new. Costs what has changed since the last look, not what waits."""
        lines = self._placement.lines
        patient_us = self._clock.now_us() - PATIENCE_US
        reasons = {wish: why(self._placement.rooms, wish) for wish in lines.wishes()}
        for wish, reason in reasons.items():
            if reason != self._reasons.get(wish, ""):
                waiting = (attempt for line in lines.wishes()[wish].values() for attempt in line.attempts)
                self._to_look_at.extend(attempt for attempt in waiting if self._is_due(attempt, patient_us))
        self._reasons = reasons
        while lines.arrived and self._is_due(lines.arrived[0], patient_us):
            self._to_look_at.append(lines.arrived.popleft())
        self._tell_some()
        if len(self._told) > len(lines) + PORTION:
            self._told = {attempt: reason for attempt, reason in self._told.items() if attempt in lines}

    def _is_due(self, attempt: AttemptId, patient_us: int) -> bool:
        """Whether it has waited for long enough, or waits no longer."""
        waiter = self._placement.lines.find(attempt)
        return waiter is None or waiter.since_us <= patient_us

    def _tell_some(self) -> None:
        number = 0
        while self._to_look_at and number < PORTION:
            attempt = self._to_look_at.popleft()
            waiter = self._placement.lines.find(attempt)
            reason = self._reasons.get(waiter.line.wish, "") if waiter is not None else ""
            if waiter is not None and self._told.get(attempt, "") != reason:
                number += 1
                self._told[attempt] = reason
                self._tell(attempt.execution, m.Waiting(attempt.node, attempt.attempt, reason))


def why(rooms: Rooms, wish: Wish) -> str:
    """Why nobody who wants this can get a slot as things are; empty when he can, once others have ended."""
    if rooms.could_ever(wish):
        return ""
    known = rooms.all()
    takers = [room for room in known if room.open]
    if not takers:
        return waits.reason(Wait.NO_EXECUTOR, _nobody(known))
    allowed = [room for room in takers if room.allows(wish)]
    if not allowed:
        names = ", ".join(sorted(room.executor for room in takers))
        return waits.reason(
            Wait.ONLY_INTERRUPTIBLE, f"only interruptible executors are connected ({names}), and it must not run there"
        )
    largest = max(allowed, key=lambda room: (sum(_enough(wish, room)), room.capacity, room.executor))
    return waits.reason(
        Wait.NO_FITTING_EXECUTOR,
        f"it asks for {waits.shown(wish.slots)}, and no connected executor is as large: "
        f"{largest.executor} has {waits.shown(largest.capacity)}",
    )


def _enough(wish: Wish, room: Room) -> tuple[bool, ...]:
    return tuple(has >= asked for asked, has in zip(wish.slots, room.capacity, strict=True))


def _nobody(known: list[Room]) -> str:
    if not known:
        return "no executor is connected"
    each = "; ".join(f"{room.executor}: {room.closed_because or 'not connected'}" for room in known)
    return f"no executor takes attempts now ({each})"
