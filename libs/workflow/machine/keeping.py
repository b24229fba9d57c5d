"""What the end of a cached node leaves behind: its outputs for others, and its right to compute them."""

from __future__ import annotations

from libs.workflow.errors import Internal
from libs.workflow.machine.execution import LiveNode
from libs.workflow.machine.journal import Journal
from libs.workflow.phases import CacheStatus, NodePhase, ReservationStatus
from libs.workflow.state import CacheEntry, Reservation


def keep(journal: Journal, node: LiveNode) -> None:
    """For a node that is final now. Does nothing for one that the cache has nothing to do with."""
    state = node.state
    if state.cache_key is None:
        return
    if state.phase is NodePhase.SUCCEEDED and state.cache_status is not CacheStatus.HIT:
        if state.task is None or state.outputs is None:
            raise Internal(f"node {state.id} has succeeded without anything to keep")
        state.cache_status = CacheStatus.POPULATED
        journal.turn.changes.cached.append(
            CacheEntry(state.cache_key, state.task, state.outputs, state.id, state.attempt, journal.now_us)
        )
    if state.reservation in (ReservationStatus.ACQUIRED, ReservationStatus.FAILURE):
        # After a failed look-up nobody knows whether it was reserved; what it does not own stays as it is.
        state.reservation = ReservationStatus.RELEASED
        release(journal, state.id, state.cache_key)


def release(journal: Journal, node_id: str, key: bytes) -> None:
    """Whoever waits for this node to compute the value of a key looks again."""
    journal.turn.changes.released.append(Reservation(key, journal.execution.state.key, node_id))
