"""A ledger in memory, for tests of the propeller: the same promises, no database.

It passes the contract tests of the real one. The store itself is a `MemoryStore`, which outlives its ledgers as a
database does; `submit`, `request_abort`, `set_signal` and the registrations stand for what `admin` writes. Rows are
copied on their way in and out; what their fields hold never changes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flyteidl.admin import execution_pb2 as admin_pb2
from flyteidl.core import execution_pb2

from libs.store import launches
from libs.store.claims import Claim, epoch_of, renewed_epoch
from libs.store.ledger import QUARANTINED
from libs.store.records import CacheAnswer, CacheRequest, Final, LaunchPlanRecord, LeaderRow
from libs.workflow.errors import Fenced, KeyTaken, NotFound, Refused, Unavailable
from libs.workflow.identity import EntityId
from libs.workflow.phases import AttemptPhase, Desired, ErrorKind, ExecutionPhase, NodePhase
from libs.workflow.state import (
    AbortBelow,
    AttemptState,
    CacheEntry,
    Changes,
    ExecutionState,
    Intent,
    NodeState,
    RecordedEvent,
    Reservation,
    SignalState,
    Snapshot,
)


@dataclass
class MemoryStore:
    """What a database would hold. `away` makes every call raise Unavailable."""

    executions: dict[int, ExecutionState] = field(default_factory=dict)
    nodes: dict[int, dict[str, NodeState]] = field(default_factory=dict)
    attempts: dict[int, dict[tuple[str, int], AttemptState]] = field(default_factory=dict)
    events: dict[int, list[RecordedEvent]] = field(default_factory=dict)
    programs: dict[EntityId, bytes] = field(default_factory=dict)
    tasks: dict[EntityId, bytes] = field(default_factory=dict)
    plans: dict[EntityId, LaunchPlanRecord] = field(default_factory=dict)
    tags: dict[int, Sequence[tuple[str, str]]] = field(default_factory=dict)
    signals: dict[int, dict[str, SignalState]] = field(default_factory=dict)
    cache: dict[bytes, CacheEntry] = field(default_factory=dict)
    reservations: dict[bytes, Reservation] = field(default_factory=dict)
    leaders: dict[int, LeaderRow] = field(default_factory=dict)
    clusters: dict[str, bool] = field(default_factory=dict)
    commits: int = 0
    away: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def submit(self, state: ExecutionState) -> None:
        """Stores a new execution."""
        with self.lock:
            self.executions[state.key] = replace(state)
            self.nodes[state.key], self.attempts[state.key], self.events[state.key] = {}, {}, []

    def request_abort(self, key: int, cause: str = "", principal: str = "") -> None:
        """Wants an execution aborted, unless it is final."""
        with self.lock:
            state = self.executions[key]
            if not state.phase.terminal and state.intent.desired is not Desired.ABORT:
                _want_aborted(state, cause, principal)

    def set_signal(self, key: int, id: str, value: bytes) -> None:
        """Gives a signal that a gate waits for."""
        with self.lock:
            assert id in self.signals[key]
            state = self.executions[key]
            given = dict(state.intent.signals) | {id: value}
            state.intent = replace(
                state.intent, generation=state.intent.generation + 1, signals=tuple(sorted(given.items()))
            )

    def register(self, workflow: EntityId, closure: bytes) -> None:
        """Stores a compiled workflow."""
        with self.lock:
            self.programs[workflow] = closure

    def register_task(self, task: EntityId, closure: bytes) -> None:
        """Stores a task."""
        with self.lock:
            self.tasks[task] = closure

    def register_launch_plan(self, record: LaunchPlanRecord) -> None:
        """Stores a launch plan."""
        with self.lock:
            self.plans[record.id] = record


class MemoryLedger:
    """See `libs.store.ledger.Ledger`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._claims: dict[int, Claim] = {}

    def leave_loop(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    def check_schema(self) -> None:
        """It is always the present one."""

    def prepare(self) -> None:
        """It is as quick as it is."""

    def claim(self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int) -> int:
        claim = Claim(shard, etcd_cluster, create_revision, holder, address, now_us)
        with self._present() as store:
            epoch = epoch_of(claim, store.leaders.get(shard), store.clusters)
            store.clusters.setdefault(etcd_cluster, False)
            store.leaders[shard] = claim.row(epoch)
            self._claims[shard] = claim
            return epoch

    def renew(self, shard: int) -> int:
        claim = self._claims[shard]
        with self._present() as store:
            epoch = renewed_epoch(claim, store.leaders.get(shard))
            store.leaders[shard] = claim.row(epoch)
            return epoch

    def leader(self, shard: int) -> LeaderRow | None:
        with self._present() as store:
            return store.leaders.get(shard)

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        with self._present() as store:
            self._fence(shard, epoch)
            for change in batch:
                _require_storable(change)
                self._require_own_children(change)
            for change in batch:
                self._store_one(shard, change)
            for change in batch:
                for abort in change.aborts:
                    self._abort_below(change.execution.key, abort)
            store.commits += 1

    async def commit_on_loop(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool:
        """Everything takes a thread here."""
        return False

    def quarantine(self, shard: int, epoch: int, key: int, reason: str, now_us: int) -> None:
        reason = reason.encode("utf-8", "replace").decode()
        with self._present() as store:
            self._fence(shard, epoch)
            state = store.executions.get(key)
            if state is None or state.phase.terminal:
                return
            error = execution_pb2.ExecutionError(code=QUARANTINED, message=reason, kind=ErrorKind.SYSTEM.value)
            store.executions[key] = replace(
                state,
                phase=ExecutionPhase.FAILED,
                error=error.SerializeToString(),
                observed_generation=state.intent.generation,
                next_wake_at_us=None,
                ended_at_us=now_us,
                updated_at_us=now_us,
            )
            for node in store.nodes[key].values():
                if not node.phase.terminal:
                    node.phase, node.wake_at_us = NodePhase.ABORTED, None
                    node.ended_at_us = node.updated_at_us = now_us
            for attempt in store.attempts[key].values():
                if not attempt.phase.terminal:
                    attempt.phase, attempt.reason = AttemptPhase.ABORTED, reason
                    attempt.ended_at_us = attempt.updated_at_us = now_us
            store.events[key].append(RecordedEvent(now_us, "ExecutionQuarantined", message=reason))
            self._abort_below(key, AbortBelow(f"the parent execution failed: {reason}", ""))

    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        with self._present() as store:
            return [
                Snapshot(
                    replace(store.executions[key]),
                    self._nodes(key),
                    [replace(store.attempts[key][id]) for id in sorted(store.attempts[key]) if self._open(key, id)],
                    self._nodes(store.executions[key].recovers_key),
                )
                for key in sorted(keys)
                if key in store.executions and store.executions[key].shard == shard
            ]

    async def load_on_loop(self, shard: int, keys: Sequence[int]) -> list[Snapshot] | None:
        """Everything takes a thread here."""
        return None

    def intents(self, keys: Sequence[int]) -> dict[int, Intent]:
        with self._present() as store:
            return {key: store.executions[key].intent for key in keys if key in store.executions}

    def due(self, shard: int, now_us: int, limit: int, *, new: bool = True) -> list[int]:
        with self._present():
            live = [each for each in self._live(shard) if new or each.phase is not ExecutionPhase.QUEUED]
            wanting = [each.key for each in live if _wants_attention(each)]
            timed = [each for each in live if each.next_wake_at_us is not None and each.next_wake_at_us <= now_us]
            timed.sort(key=lambda each: each.next_wake_at_us or 0)
            return list(dict.fromkeys([*wanting, *(each.key for each in timed)]))[:limit]

    def live(self, shard: int, after_key: int, limit: int, *, new: bool = True) -> list[int]:
        with self._present():
            live = [each for each in self._live(shard) if new or each.phase is not ExecutionPhase.QUEUED]
            return [each.key for each in live if each.key > after_key][:limit]

    def levels(self, shard: int) -> dict[tuple[str, str, ExecutionPhase], int]:
        with self._present():
            return dict(Counter((each.id.project, each.id.domain, each.phase) for each in self._live(shard)))

    def program(self, workflow: EntityId) -> bytes:
        with self._present() as store:
            if workflow not in store.programs:
                raise NotFound(f"workflow {workflow} is not registered")
            return store.programs[workflow]

    def finals(self, keys: Sequence[int]) -> dict[int, Final]:
        with self._present() as store:
            found = {key: store.executions[key] for key in keys if key in store.executions}
            return {
                key: Final(state.phase, state.outputs, state.error)
                for key, state in found.items()
                if state.phase.terminal
            }

    def tasks(self, ids: Sequence[EntityId]) -> dict[EntityId, bytes]:
        with self._present() as store:
            return {id: store.tasks[id] for id in ids if id in store.tasks}

    def launch_plans(self, ids: Sequence[EntityId]) -> dict[EntityId, LaunchPlanRecord]:
        with self._present() as store:
            return {id: store.plans[id] for id in ids if id in store.plans}

    def look_up_cache(self, requests: Sequence[CacheRequest], now_us: int) -> list[CacheAnswer]:
        with self._present() as store:
            # Sorted as the real one is: of several that ask for one key at once, the same one gets it.
            owned = {request for request in sorted(set(requests)) if self._reserve(request)}
            return [
                CacheAnswer(store.cache[request.key].outputs, True)
                if request.key in store.cache
                else CacheAnswer(None, not request.reserve or request in owned)
                for request in requests
            ]

    # ------------------------------------------------------------------------------------------------------------

    def _present(self) -> _Locked:
        return _Locked(self._store)

    def _fence(self, shard: int, epoch: int) -> None:
        leader = self._store.leaders.get(shard)
        if leader is None or leader.epoch != epoch:
            raise Fenced(f"shard {shard}: epoch {epoch} is over")

    def _live(self, shard: int) -> list[ExecutionState]:
        found = (each for each in self._store.executions.values() if each.shard == shard and not each.phase.terminal)
        return sorted(found, key=lambda each: each.key)

    def _open(self, key: int, id: tuple[str, int]) -> bool:
        return not self._store.attempts[key][id].phase.terminal

    def _nodes(self, key: int | None) -> list[NodeState]:
        found = [] if key is None else list(map(replace, self._store.nodes.get(key, {}).values()))
        return sorted(found, key=lambda node: (node.created_at_us or 0, node.id))

    def _require_own_children(self, change: Changes) -> None:
        """Refuses a child whose key or name belongs to another."""
        for child in change.children:
            for old in self._store.executions.values():
                same = old.key == child.key and (old.parent_key, old.parent_node_id) == (
                    child.parent_key,
                    child.parent_node_id,
                )
                if not same and old.key == child.key:
                    raise KeyTaken(f"the key of {child.id} is that of {old.id}")
                if not same and old.id == child.id:
                    raise Refused(f"execution {old.id} is there already")

    def _abort_below(self, parent: int, abort: AbortBelow) -> None:
        for child in list(self._store.executions.values()):
            wanted = abort.child_key in (None, child.key)
            if child.parent_key != parent or child.phase.terminal or not wanted:
                continue
            if child.intent.desired is Desired.RUN:
                _want_aborted(child, abort.cause, abort.principal)
            self._abort_below(child.key, replace(abort, child_key=None))

    def _reserve(self, request: CacheRequest) -> bool:
        """Whether the asker has the reservation now."""
        store = self._store
        if not request.reserve or request.key in store.cache:
            return False
        held = store.reservations.get(request.key)
        asker = Reservation(request.key, request.execution_key, request.node_id)
        if held is not None and held != asker and self._works(held):
            return False
        store.reservations[request.key] = asker
        return True

    def _works(self, held: Reservation) -> bool:
        owner = self._store.executions.get(held.execution_key)
        if owner is None or owner.phase.terminal:
            return False
        node = self._store.nodes[held.execution_key].get(held.node_id)
        return node is None or not node.phase.terminal

    def _store_one(self, shard: int, change: Changes) -> None:
        store, key = self._store, change.execution.key
        old = store.executions.get(key)
        if change.execution_changed and old is not None and old.shard == shard and not old.phase.terminal:
            store.executions[key] = replace(change.execution, intent=old.intent)
        nodes = store.nodes.setdefault(key, {})
        for id, node in change.nodes.items():
            if id not in nodes or not nodes[id].phase.terminal:
                nodes[id] = replace(node)
        attempts = store.attempts.setdefault(key, {})
        for attempt_id, attempt in change.attempts.items():
            if attempt_id not in attempts or not attempts[attempt_id].phase.terminal:
                attempts[attempt_id] = replace(attempt)
        store.events.setdefault(key, []).extend(change.events)
        self._store_more(key, change)

    def _store_more(self, key: int, change: Changes) -> None:
        """What is written beside state and story."""
        store = self._store
        for child in change.children:
            if child.key not in store.executions:
                store.submit(child)
                store.tags[child.key] = launches.searchable(admin_pb2.ExecutionSpec.FromString(child.spec))
        for signal in change.signals:
            store.signals.setdefault(key, {}).setdefault(signal.id, signal)
        for entry in change.cached:
            store.cache[entry.key] = entry
        for reservation in change.released:
            if store.reservations.get(reservation.key) == reservation:
                del store.reservations[reservation.key]


class _Locked:
    """The store, if it is not away, to one caller at a time."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __enter__(self) -> MemoryStore:
        if self._store.away:
            raise Unavailable("the store is away")
        self._store.lock.acquire()
        return self._store

    def __exit__(self, *_error: object) -> None:
        self._store.lock.release()


def _want_aborted(state: ExecutionState, cause: str, principal: str) -> None:
    state.intent = replace(
        state.intent,
        generation=state.intent.generation + 1,
        desired=Desired.ABORT,
        abort_cause=cause,
        abort_principal=principal,
    )


def _wants_attention(state: ExecutionState) -> bool:
    return state.intent.generation != state.observed_generation or state.phase is ExecutionPhase.QUEUED


def _require_storable(change: Changes) -> None:
    """Refuses what no database takes: text that is not Unicode."""
    texts = [attempt.reason for attempt in change.attempts.values()]
    texts += [event.message for event in change.events]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise Refused(f"the store cannot hold a value: {error}") from error
