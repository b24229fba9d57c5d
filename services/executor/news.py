"""That an attempt is accepted, or runs, is told when it has lasted for a moment.

Most tasks of those that come by the thousand are over sooner, and nobody could have seen them run: what is told of them
is their end, which also says when they began. Of an attempt that goes on, the last thing that is known is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from libs.wire.session import Report
from libs.workflow.identity import AttemptId

NEWS_SECONDS: Final = 0.1
"""How long it may take until something is told: people do not see the difference."""


class News:
    """Reports that are no ends. Belongs to one event loop."""

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._latest: dict[AttemptId, Report] = {}
        self._due = False

    def add(self, report: Report) -> None:
        """Tells it soon, unless it is forgotten before, or there is newer news of that attempt."""
        self._latest[report.id] = report
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(NEWS_SECONDS, self._tell_all)

    def forget(self, id: AttemptId) -> None:
        """Whoever is to know it knows, or knows more."""
        self._latest.pop(id, None)

    def _tell_all(self) -> None:
        self._due = False
        latest, self._latest = self._latest, {}
        for report in latest.values():
            self._tell(report)
