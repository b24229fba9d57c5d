"""What a runner says of itself: how fast it goes, and what it waits for."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import Final

from libs.runtime.clock import Clock
from libs.workflow.intake import IntakeId

logger = logging.getLogger(__name__)

_MARKS: Final = 6
"""Status reports over which the rate is taken."""


class Report:
    """Of one intake."""

    def __init__(self, id: IntakeId, clock: Clock) -> None:
        self._id = id
        self._clock = clock
        self._note = ""
        self._troubled = False
        self._taken = 0
        self._marks = deque([(clock.monotonic(), 0)], maxlen=_MARKS)

    def say(self, note: str) -> None:
        """What is waited for; nothing when all is well."""
        if self._troubled:
            logger.info("intake %s: %s", self._id, note or "goes on")
        self._troubled = False
        self._note = note

    def complain(self, trouble: str) -> None:
        """What is wrong. Logged once for all of its kind, which is what stands before the colon."""
        if not self._troubled or trouble.partition(":")[0] != self._note.partition(":")[0]:
            logger.warning("intake %s: %s", self._id, trouble)
        self._troubled = True
        self._note = trouble

    def taken(self, count: int) -> None:
        """So many items have become executions."""
        self._taken += count

    def buried(self, claim: str, reason: str) -> None:
        """An item was given up."""
        logger.warning("intake %s gives up item %s: %s", self._id, claim, reason)

    def status(self) -> str:
        """For whoever asks Redis."""
        now = self._clock.monotonic()
        since, taken = self._marks[0]
        self._marks.append((now, self._taken))
        rate = (self._taken - taken) / (now - since) if now > since else 0.0
        return json.dumps({"rate": round(rate, 1), "note": self._note})
