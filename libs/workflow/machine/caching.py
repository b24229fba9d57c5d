"""Cached task nodes: they ask before they run, and what they compute is kept for others.

A node asks as soon as it has its inputs, and until the answer comes it has no row: a new leader asks anew. What happens
then:

    answer                           node             cache status     reservation
    outputs                          SUCCEEDED        HIT              -
    nothing                          seeks a slot     MISS             -, or ACQUIRED where one computes for all
    nothing, somebody computes it    QUEUED, waits    MISS             EXISTS
    trouble                          seeks a slot     LOOKUP_FAILURE   -, or FAILURE where one computes for all
    (not asked: overwrite_cache)     seeks a slot     SKIPPED          -

Whoever waits holds no slot and counts for no limit. It asks again when it is told that the other has ended, and when a
new leader finds it. Whatever the other's end was: if there are outputs it takes them, else one of those who ask
computes, and the others wait for that one.

Items of arrays ask one by one, each by its own elements, whatever it is given.

How a node ends: see `keeping`. Trying again keeps a reservation; so does a task that asks for more nodes, until these
have produced its outputs.
"""

from __future__ import annotations

from flyteidl.core import literals_pb2

from libs.workflow.caching import cache_key
from libs.workflow.errors import Internal
from libs.workflow.graph import GraphNode
from libs.workflow.machine.attempts import Attempts
from libs.workflow.machine.endings import Endings
from libs.workflow.machine.execution import Asked, LiveNode, Scope
from libs.workflow.machine.journal import Journal
from libs.workflow.machine.keeping import release
from libs.workflow.machine.messages import CacheAnswered, CacheFreed, LookUpCache
from libs.workflow.machine.openings import Openings
from libs.workflow.phases import CacheStatus, NodePhase, ReservationStatus
from libs.workflow.state import EMPTY, Data


class Caching:
    """What cached nodes do in one step."""

    def __init__(self, journal: Journal, endings: Endings, openings: Openings, attempts: Attempts) -> None:
        self._journal = journal
        self._endings = endings
        self._openings = openings
        self._attempts = attempts

    def begin(self, scope: Scope, spec: GraphNode, inputs: Data, literals: literals_pb2.LiteralMap) -> None:
        """A task node starts: it asks the cache, or runs."""
        policy = spec.cache
        if policy is None or spec.task is None:
            self._attempts.begin(scope, spec, inputs, literals)
            return
        if not policy.version:
            message = f"the outputs of task {spec.task.id.name} are to be cached, but its cache has no version: set one"
            self._openings.fail(scope, spec, "CacheVersionMissing", message)
            return
        key = cache_key(spec.task.id, policy, literals)
        if self._journal.execution.settings.overwrite_cache:
            node = self._attempts.open(scope, spec, inputs)
            node.state.cache_key = key
            node.state.cache_status = CacheStatus.SKIPPED
            self._attempts.seek_or_park(node)
        else:
            self._ask(scope.node_id(spec), Asked(scope, spec, inputs, key))

    def _ask(self, node_id: str, asked: Asked) -> None:
        if node_id not in self._journal.execution.asking:
            self._journal.execution.asking[node_id] = asked
            self._journal.command(LookUpCache(node_id, asked.key, _serializes(asked.spec)))

    def resume(self, node: LiveNode) -> None:
        """Asks again for a node that a former leader knew to wait."""
        if node.state.cache_key is None:
            raise Internal(f"node {node.state.id} waits for nothing")
        self._ask(node.state.id, Asked(node.scope, node.spec, node.state.inputs or EMPTY, node.state.cache_key))

    def on_answered(self, event: CacheAnswered) -> None:
        """What the cache knows. What nobody wants to know any more only ends a reservation."""
        asked = self._journal.execution.asking.pop(event.node_id, None)
        node = self._journal.execution.node(event.node_id)
        if asked is None:
            # It was asked twice, for a commit failed in between, and has waited since the first answer.
            if node is not None and waits(node):
                self._go_on(node, event)
            return
        if node is None and asked.scope.admits(asked.spec.index):
            node = self._attempts.open(asked.scope, asked.spec, asked.inputs)
            node.state.cache_key = asked.key
        if node is not None:
            self._go_on(node, event)
        elif event.reserved and _serializes(asked.spec):
            release(self._journal, event.node_id, asked.key)

    def _go_on(self, node: LiveNode, event: CacheAnswered) -> None:
        state = node.state
        if waits(node):
            if event.outputs is None and not event.reserved:
                self._wait(node)  # as it did: there is nothing to tell
                return
            self._journal.execution.waiting.get(state.cache_key or b"", {}).pop(state.id, None)
        self._journal.touch(node)
        if event.outputs is not None:
            state.outputs = event.outputs
            state.cache_status = CacheStatus.HIT
            state.reservation = ReservationStatus.DISABLED
            self._journal.record("CacheHit", node)
            self._endings.end(node, NodePhase.SUCCEEDED)
            return
        state.cache_status = CacheStatus.LOOKUP_FAILURE if event.error else CacheStatus.MISS
        if event.error:
            self._journal.record("CacheNotReadable", node, event.error)
        if _serializes(node.spec):
            state.reservation = _reservation(event)
        if state.reservation is ReservationStatus.EXISTS:
            self._wait(node)
            self._journal.record("WaitsForCache", node)
        else:
            self._attempts.seek_or_park(node)

    def _wait(self, node: LiveNode) -> None:
        self._journal.execution.waiting.setdefault(node.state.cache_key or b"", {})[node.state.id] = node

    def on_freed(self, event: CacheFreed) -> None:
        """Whoever waited for this key asks again."""
        for node in self._journal.execution.waiting.pop(event.key, {}).values():
            if not node.state.phase.terminal:
                self.resume(node)


def waits(node: LiveNode) -> bool:
    """Whether the node waits for another one's outputs."""
    return node.state.reservation is ReservationStatus.EXISTS


def _serializes(spec: GraphNode) -> bool:
    return spec.cache is not None and spec.cache.serialize


def _reservation(event: CacheAnswered) -> ReservationStatus:
    if event.error:
        return ReservationStatus.FAILURE
    return ReservationStatus.ACQUIRED if event.reserved else ReservationStatus.EXISTS
