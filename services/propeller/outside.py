"""What turns need of the world around them: the rest of the term, or a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from libs.workflow.identity import AttemptId
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from services.propeller.pending import Pending

Question = m.ReadBlob | m.WriteBlob | m.BuildGraph
QUESTIONS = (m.ReadBlob, m.WriteBlob, m.BuildGraph)
"""For `isinstance`, which takes several times as long with a union."""


class Outside(Protocol):
    """What follows from a committed turn outside the leader's memory."""

    def adopt(self, execution: Execution) -> None:
        """Compares what an execution that was just read has placed with what its executors know."""

    def dispatch(self, execution: Execution, node_id: str, attempt: int) -> None:
        """Sends a placed attempt to its executor, if that is connected."""

    def stop(self, identity: AttemptId, executor: str, reason: str) -> None:
        """Tells an executor to stop an attempt."""

    def disown(self, identity: AttemptId, executor: str) -> None:
        """Tells an executor that works on an attempt to stop and forget it."""

    def acknowledge(self, identity: AttemptId, executor: str, seq: int) -> None:
        """Tells an executor that its final report is committed, or will never matter."""

    def changed(self, turns: Sequence[Pending]) -> None:
        """Tells watchers of turns that have changed something."""

    def ask(self, execution: Execution, command: Question) -> None:
        """Finds out what the machine asks, and puts the answer into the inbox. Needs no commit before."""

    def look_up_cache(self, execution: Execution, command: m.LookUpCache) -> None:
        """Asks the cache for a node. The same turn may have put there what the node asks for, hence not before."""

    def look_up_child(self, execution: Execution, command: m.LookUpChild) -> None:
        """Puts the end of a child into the inbox, if it has ended."""

    def attend_below(self) -> None:
        """What is wanted of descendants has changed in the store: gives them turns."""

    def ended(self, execution: Execution) -> None:
        """Tells the parent, if there is one."""
