"""The leader's side of the store: synchronous, one connection, for one thread; and what an event loop does without it.

Guaranteed: a commit is stored as a whole or not at all, only if `epoch` is the shard's present epoch at that moment,
and a final phase is never left. `claim` and `commit` of one shard exclude each other in the database, so after a claim
has returned no commit of an older epoch can follow, however late its process wakes up.

Not guaranteed: that a commit that raised `Unavailable` did not happen. The caller must forget what it knows of those
executions and load them again.

Every method raises `Unavailable` when the database is away, locked or slow (after about a second, two for a server
that does not even answer), and the next call connects afresh. No method leaves a transaction open. Call `close` to
give up the connection; on SQLite that also lets another process lead.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from flyteidl.core import execution_pb2

from libs.store import address, claims, ledger_cache, rows, schema
from libs.store.at_once import FEW, NotNow
from libs.store.failures import translated
from libs.store.holds import Execute
from libs.store.ledger_rows import Batch, abort_row, batch_of
from libs.store.ledger_sqlite import SqliteLedger
from libs.store.records import CacheAnswer, CacheRequest, Final, LaunchPlanRecord, LeaderRow
from libs.workflow.errors import Fenced, NotFound, Unavailable
from libs.workflow.identity import EntityId
from libs.workflow.phases import AttemptPhase, ErrorKind, ExecutionPhase, NodePhase
from libs.workflow.state import AbortBelow, AttemptState, Changes, Intent, NodeState, Snapshot

_log = logging.getLogger(__name__)

NOT_NEW_SECONDS = 1.0
"""Where some of what was to be read were not new, as when a leader takes over, others that are read soon will not be
either: for so long, none but a few are looked for in vain first."""

QUARANTINED = "Quarantined"
"""Error code of an execution whose rows the database refused."""


class Connection(ledger_cache.Connection, Protocol):
    """What differs between the two databases."""

    @property
    def head_lock(self) -> str:
        """SQL that follows a SELECT and keeps everybody else from what it found until the transaction ends."""

    @property
    def cluster_lock(self) -> str | None:
        """A statement that keeps other claims, of any shard, out until the transaction ends."""

    async def read_on_loop(
        self, statement: str, keys: Sequence[int], parameters: Mapping[str, int]
    ) -> list[rows.Row] | None: ...

    def commit(self, shard: int, epoch: int, batch: Batch) -> int | None: ...

    def commits_on_loop(self, batch: Sequence[Changes]) -> bool: ...

    async def commit_on_loop(self, shard: int, epoch: int, batch: Batch) -> int | NotNow | None: ...

    def aborts(self, aborts: Sequence[rows.Row], shard: int, epoch: int) -> Iterator[tuple[str, Mapping[str, Any]]]: ...

    def lead_alone(self) -> None: ...

    def prepare(self) -> None: ...

    def drop(self) -> None: ...

    def leave_loop(self) -> None: ...

    def close(self) -> None: ...


class Ledger:
    """The observed state of executions and who may change it. Connects at the first call."""

    def __init__(self, url: str) -> None:
        self._database = connection_to(url)
        self._claims: dict[int, claims.Claim] = {}
        """The last claim of each shard."""
        self._taken = ledger_cache.Taken()
        self._not_new_until = 0.0

    def leave_loop(self) -> None:
        """Ends the connection of `commit_on_loop` and `load_on_loop`. On the event loop's thread, while none of them
        is under way; the next one connects anew."""
        self._database.leave_loop()

    def close(self) -> None:
        """Ends the connection and, on SQLite, the right to lead."""
        self._database.close()

    def check_schema(self) -> None:
        """Raises FailedPrecondition unless the tables are those of this version of the program."""
        found = self._read("SELECT version_num FROM alembic_version", {})
        schema.require_revision(found[0][0] if found else None)

    def prepare(self) -> None:
        """Makes the database quick for whoever will lead. Nothing depends on it; PostgreSQL needs nothing."""
        self._database.prepare()

    # ------------------------------------------------------------------------------------------------- leadership

    def claim(self, shard: int, etcd_cluster: str, create_revision: int, holder: str, address: str, now_us: int) -> int:
        """Makes `holder` the leader of `shard` and returns its epoch, which every commit has to name.

        Raises Fenced when a later candidate has claimed already, and FailedPrecondition for another etcd cluster than
        the recorded one or, on SQLite, when another process leads. Claiming twice is harmless.
        """
        claim = claims.Claim(shard, etcd_cluster, create_revision, holder, address, now_us)
        with self._transaction() as execute:
            self._database.lead_alone()
            if self._database.cluster_lock is not None:
                execute(self._database.cluster_lock, {})
            execute(_FIRST_LEADER, {"shard": shard})
            current = _leader_from(execute(_LEADER, {"shard": shard}))
            clusters = {row[0]: bool(row[1]) for row in execute("SELECT cluster_id, retired FROM etcd_clusters", {})}
            epoch = claims.epoch_of(claim, current, clusters)
            execute(_LEARN_CLUSTER, {"cluster": etcd_cluster})
            execute(_LEAD, _leader_parameters(claim.row(epoch)))
        self._claims[shard] = claim
        return epoch

    def renew(self, shard: int) -> int:
        """Raises the epoch of a shard that this ledger has claimed, and returns it.

        For after a commit of unknown outcome, before anything is loaded: a commit still on its way names the old epoch
        and can never be stored from now on, and one that has been stored is seen. Raises Fenced when somebody else has
        claimed the shard.
        """
        claim = self._claims[shard]
        with self._transaction() as execute:
            # As a claim does, the update waits until the commits that hold the row are through.
            execute(_FIRST_LEADER, {"shard": shard})
            epoch = claims.renewed_epoch(claim, _leader_from(execute(_LEADER, {"shard": shard})))
            execute(_LEAD, _leader_parameters(claim.row(epoch)))
        return epoch

    def leader(self, shard: int) -> LeaderRow | None:
        """Who claimed the shard last, or None."""
        return _leader_from(self._read(_LEADER, {"shard": shard}))

    # ----------------------------------------------------------------------------------------------------- writes

    def commit(self, shard: int, epoch: int, batch: Sequence[Changes]) -> None:
        """Stores everything in `batch` in one transaction.

        Raises Fenced when `epoch` is past (nothing is stored), Refused when the database does not take some row
        (nothing is stored: try each execution alone) and Unavailable when the outcome is unknown. Rows that are final
        already stay as they are.
        """
        values = batch_of(batch)
        with self._failures():
            written = self._database.commit(shard, epoch, values)
        self._judge(shard, epoch, values, written)

    async def commit_on_loop(self, shard: int, epoch: int, batch: Sequence[Changes]) -> bool:
        """Does what `commit` does, and raises as it does, if that can be had without another thread; else does nothing.
        Returns whether it is done.

        For an event loop, see `at_once` and `postgres_loop`; not beside another commit.
        """
        if not self._database.commits_on_loop(batch):
            return False
        values = batch_of(batch)
        with translated():  # the connection is another one than that of all other calls
            written = await self._database.commit_on_loop(shard, epoch, values)
        if written is NotNow.NOT_NOW:
            return False
        self._judge(shard, epoch, values, written)
        return True

    def _judge(self, shard: int, epoch: int, values: Batch, written: int | None) -> None:
        if written is None:
            raise Fenced(f"shard {shard}: epoch {epoch} is over")
        if written < values.states:
            _log.error("%d rows of a commit were final or unknown and stay as they are", values.states - written)

    def quarantine(self, shard: int, epoch: int, key: int, reason: str, now_us: int) -> None:
        """Ends an execution that cannot be stored: FAILED by the system, with `reason`, its open nodes ABORTED.

        What it has launched is to be aborted.

        Raises as `commit` does. An execution that is final stays as it is.
        """
        reason = _storable(reason)
        with self._transaction() as execute:
            found = execute(f"{EPOCH} {self._database.fence_lock}", {"shard": shard})
            if not found or found[0][0] != epoch:
                raise Fenced(f"shard {shard}: epoch {epoch} is over")
            parameters = {"shard": shard, "key": key, "now": now_us, "reason": reason, "error": _quarantined(reason)}
            if execute(_END_EXECUTION, parameters):
                for statement in (_END_NODES, _END_ATTEMPTS, _TELL_QUARANTINE):
                    execute(statement, parameters)
                below = abort_row(key, AbortBelow(f"the parent execution failed: {reason}", ""))
                for statement, asked in self._database.aborts([below], shard, epoch):
                    execute(statement, asked)

    # ------------------------------------------------------------------------------------------------------ reads

    def load(self, shard: int, keys: Sequence[int]) -> list[Snapshot]:
        """The executions of `keys` that exist in this shard, with all their nodes, their open attempts, the signals
        that they have been given, and all nodes of what they recover (in any shard: it is final).

        Of what has only been accepted there is nothing but its row: the first commit of its leader ends that phase.
        """
        found = self._by_keys(_EXECUTIONS, keys, shard=shard)
        begun = [row[0] for row in found if row[_PHASE] != ExecutionPhase.QUEUED]
        signals = self._signals(begun)
        executions = [rows.execution_from(row, signals.get(row[0], ())) for row in found]
        recovered = {each.recovers_key for each in executions if each.recovers_key is not None}
        nodes: dict[int, list[NodeState]] = defaultdict(list)
        for row in self._by_keys(_NODES, sorted(recovered.union(begun))):
            nodes[row[0]].append(rows.node_from(row))
        attempts: dict[int, list[AttemptState]] = defaultdict(list)
        for row in self._by_keys(_ATTEMPTS, begun):
            attempts[row[0]].append(rows.attempt_from(row))
        return [
            Snapshot(each, nodes[each.key], attempts[each.key], nodes[each.recovers_key] if each.recovers_key else [])
            for each in executions
        ]

    async def load_on_loop(self, shard: int, keys: Sequence[int]) -> list[Snapshot] | None:
        """Executions as `load` gives them, if all of them have only been accepted, and can be had without another
        thread; else None.

        For an event loop, see `at_once` and `postgres_loop`; also beside a call on another thread.
        """
        if len(keys) > FEW and time.monotonic() < self._not_new_until:
            return None
        with translated():
            found = await self._database.read_on_loop(_NEW, keys, {"shard": shard})
        if found is None:
            return None
        if len(found) < len(keys):
            self._not_new_until = time.monotonic() + NOT_NEW_SECONDS
            return None
        executions = [rows.execution_from(row) for row in found]
        if any(each.recovers_key is not None for each in executions):
            return None
        return [Snapshot(each, [], [], []) for each in executions]

    def intents(self, keys: Sequence[int]) -> dict[int, Intent]:
        """What is wanted of each of these executions; unknown keys are left out.

        The signals are read last: they may be newer than the generation says, never older.
        """
        found = self._by_keys(_INTENTS, keys)
        signals = self._signals([row[0] for row in found])
        return {row[0]: rows.intent_from(row[1:], signals.get(row[0], ())) for row in found}

    def finals(self, keys: Sequence[int]) -> dict[int, Final]:
        """How those of these executions that have ended, in any shard, have ended."""
        return {
            row[0]: Final(ExecutionPhase(row[1]), rows.data_from(row[2:5]), row[5])
            for row in self._by_keys(_FINALS, keys)
        }

    def due(self, shard: int, now_us: int, limit: int, *, new: bool = True) -> list[int]:
        """Live executions that need a turn: new, changed in what is wanted of them, or with a timer that has run out.

        At most `limit` keys, the new and changed ones first, oldest first. Without `new`, none that has not begun.
        """
        parameters = {"shard": shard, "now": now_us, "limit": limit}
        found = [row[0] for row in self._read(_WANTING if new else _BEGUN_WANTING, parameters)]
        if len(found) < limit:
            found += (row[0] for row in self._read(_TIMED_OUT, parameters))
        return list(dict.fromkeys(found))[:limit]

    def live(self, shard: int, after_key: int, limit: int, *, new: bool = True) -> list[int]:
        """Keys of the executions that are not final, ascending, from the one after `after_key` on.

        Without `new`, none that has not begun.
        """
        parameters = {"shard": shard, "after": after_key, "limit": limit}
        return [row[0] for row in self._read(_LIVE if new else _BEGUN_LIVE, parameters)]

    def levels(self, shard: int) -> dict[tuple[str, str, ExecutionPhase], int]:
        """How many executions that are not final there are, by project, domain and phase."""
        found = self._read(_LEVELS, {"shard": shard})
        return {(project, domain, ExecutionPhase(phase)): count for project, domain, phase, count in found}

    def program(self, workflow: EntityId) -> bytes:
        """The serialized `CompiledWorkflowClosure` of a registered workflow. Raises NotFound."""
        found = self._read(_PROGRAM, workflow._asdict())
        if not found:
            raise NotFound(f"workflow {workflow} is not registered")
        closure: bytes = found[0][0]
        return closure

    def tasks(self, ids: Sequence[EntityId]) -> dict[EntityId, bytes]:
        """The serialized `TaskClosure` of those of these tasks that are registered."""
        return {id: row[0] for id in dict.fromkeys(ids) for row in self._read(_TASK, id._asdict())}

    def launch_plans(self, ids: Sequence[EntityId]) -> dict[EntityId, LaunchPlanRecord]:
        """Those of these launch plans that are registered, whether active or not."""
        return {
            id: rows.launch_plan_from(row)
            for id in dict.fromkeys(ids)
            for row in self._read(_LAUNCH_PLAN, id._asdict())
        }

    # ------------------------------------------------------------------------------------------------------ cache

    def look_up_cache(self, requests: Sequence[CacheRequest], now_us: int) -> list[CacheAnswer]:
        """What the cache has for each of these nodes and, where one asks to reserve what it has not, whether it may
        compute it. In order of the requests.

        Not fenced, and not part of any commit: a reservation is the node's, whoever leads its shard.
        """
        with self._failures():
            return ledger_cache.look_up(self._database, requests, now_us, self._taken)

    # ------------------------------------------------------------------------------------------------------------

    def _signals(self, keys: Sequence[int]) -> dict[int, list[tuple[str, bytes]]]:
        """The signals that these executions have been given."""
        given: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        for key, id, value in self._by_keys(_SIGNALS, keys):
            given[key].append((id, value))
        return given

    def _by_keys(self, statement: str, keys: Sequence[int], **more: Any) -> list[rows.Row]:
        if not keys:
            return []
        parameters = {"keys": self._database.keys(keys), **more}
        return self._read(statement.format(keys_in=self._database.keys_in), parameters)

    def _read(self, statement: str, parameters: Mapping[str, Any]) -> list[rows.Row]:
        with self._failures():
            return self._database.read(statement, parameters)

    @contextmanager
    def _transaction(self) -> Iterator[Execute]:
        with self._failures(), self._database.transaction() as execute:
            yield execute

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except Unavailable:
            self._database.drop()
            raise


def connection_to(url: str) -> Connection:
    """A connection to the database at `url`, for one thread; nothing is contacted yet."""
    where = address.parse(url)
    if isinstance(where, address.Sqlite):
        return SqliteLedger(where.path)
    from libs.store.ledger_postgres import PostgresLedger  # only who needs the driver pays for its import

    return PostgresLedger(where.url)


def _leader_from(found: Sequence[rows.Row]) -> LeaderRow | None:
    if not found or found[0][1] == _NEVER_LED:
        return None
    return LeaderRow(*found[0])


def _leader_parameters(row: LeaderRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in LeaderRow.__slots__}


def _storable(text: str) -> str:
    """`text` without what no database takes: it may be that very text which was refused."""
    return text.encode("utf-8", "replace").decode().replace("\0", "�")


def _quarantined(reason: str) -> bytes:
    error = execution_pb2.ExecutionError(code=QUARANTINED, message=reason, kind=ErrorKind.SYSTEM.value)
    serialized: bytes = error.SerializeToString()
    return serialized


_NEVER_LED = 0
_LEADER_COLUMNS = "shard, epoch, etcd_cluster, create_revision, holder, address, claimed_at_us"
EPOCH = "SELECT epoch FROM leadership WHERE shard = :shard"
"""The fence: followed by `fence_lock`, the first statement of every transaction of a leader."""
_LEADER = f"SELECT {_LEADER_COLUMNS} FROM leadership WHERE shard = :shard"
# The claim updates the row at once, so that two first claims wait for each other as any two claims do. In PostgreSQL
# the update also waits until the commits that hold the row are through.
_FIRST_LEADER = f"""
INSERT INTO leadership ({_LEADER_COLUMNS}) VALUES (:shard, {_NEVER_LED}, '', 0, '', '', 0)
ON CONFLICT (shard) DO UPDATE SET shard = excluded.shard
"""
_LEAD = """
UPDATE leadership SET epoch = :epoch, etcd_cluster = :etcd_cluster, create_revision = :create_revision,
    holder = :holder, address = :address, claimed_at_us = :claimed_at_us
WHERE shard = :shard
"""
_LEARN_CLUSTER = "INSERT INTO etcd_clusters (cluster_id, retired) VALUES (:cluster, 0) ON CONFLICT DO NOTHING"

_END_EXECUTION = f"""
UPDATE executions SET phase = {ExecutionPhase.FAILED:d}, error = :error, observed_generation = generation,
    next_wake_at_us = NULL, ended_at_us = :now, updated_at_us = :now
WHERE key = :key AND shard = :shard AND {schema.EXECUTION_IS_LIVE}
RETURNING key
"""
_END_NODES = f"""
UPDATE nodes SET phase = {NodePhase.ABORTED:d}, wake_at_us = NULL, ended_at_us = :now, updated_at_us = :now
WHERE execution_key = :key AND {schema.NODE_IS_OPEN}
"""
_END_ATTEMPTS = f"""
UPDATE attempts SET phase = {AttemptPhase.ABORTED:d}, reason = :reason, ended_at_us = :now, updated_at_us = :now
WHERE execution_key = :key AND {schema.ATTEMPT_IS_OPEN}
"""
_TELL_QUARANTINE = f"""
INSERT INTO events ({", ".join(rows.EVENT_COLUMNS)}) VALUES (:key, :now, 'ExecutionQuarantined', '', -1, :reason)
"""

_EXECUTIONS = (
    f"SELECT {', '.join(rows.EXECUTION_COLUMNS)} FROM executions WHERE shard = :shard AND key {{keys_in}} ORDER BY key"
)
# The sums keep PostgreSQL from looking through all that are new, by their index: while it knows nothing of the table,
# it takes them for a handful.
_NEW = (
    f"SELECT {', '.join(rows.EXECUTION_COLUMNS)} FROM executions "
    f"WHERE key {{keys_in}} AND shard + 0 = :shard AND phase + 0 = {ExecutionPhase.QUEUED:d} ORDER BY key"
)
_PHASE = rows.EXECUTION_COLUMNS.index("phase")
_NODES = (
    f"SELECT {', '.join(rows.NODE_COLUMNS)} FROM nodes WHERE execution_key {{keys_in}} "
    "ORDER BY execution_key, created_at_us, node_id"
)
_ATTEMPTS = (
    f"SELECT {', '.join(rows.ATTEMPT_COLUMNS)} FROM attempts "
    f"WHERE execution_key {{keys_in}} AND {schema.ATTEMPT_IS_OPEN} ORDER BY execution_key, node_id, attempt"
)
_INTENTS = f"SELECT key, {', '.join(rows.INTENT_COLUMNS)} FROM executions WHERE key {{keys_in}}"
_SIGNALS = (
    "SELECT execution_key, signal_id, value FROM signals WHERE execution_key {keys_in} AND value IS NOT NULL "
    "ORDER BY execution_key, signal_id"
)
_FINALS = (
    "SELECT key, phase, outputs_inline, outputs_uri, outputs_size, error FROM executions "
    f"WHERE key {{keys_in}} AND {schema.EXECUTION_IS_FINAL}"
)
_HAS_BEGUN = f"phase <> {ExecutionPhase.QUEUED:d}"
_WANTING = f"SELECT key FROM executions WHERE shard = :shard AND {schema.WANTS_ATTENTION} ORDER BY key LIMIT :limit"
_BEGUN_WANTING = _WANTING.replace("ORDER BY", f"AND {_HAS_BEGUN} ORDER BY")
_TIMED_OUT = (
    f"SELECT key FROM executions WHERE shard = :shard AND {schema.HAS_TIMER} AND next_wake_at_us <= :now "
    "ORDER BY next_wake_at_us LIMIT :limit"
)
_LIVE = (
    f"SELECT key FROM executions WHERE shard = :shard AND {schema.EXECUTION_IS_LIVE} AND key > :after "
    "ORDER BY key LIMIT :limit"
)
_BEGUN_LIVE = _LIVE.replace("ORDER BY", f"AND {_HAS_BEGUN} ORDER BY")
_LEVELS = (
    f"SELECT project, domain, phase, count(*) FROM executions WHERE shard = :shard AND {schema.EXECUTION_IS_LIVE} "
    "GROUP BY project, domain, phase"
)
_PROGRAM = """
SELECT closure FROM workflows
WHERE project = :project AND domain = :domain AND name = :name AND version = :version
"""
_TASK = """
SELECT closure FROM tasks
WHERE project = :project AND domain = :domain AND name = :name AND version = :version
"""
_LAUNCH_PLAN = f"""
SELECT {", ".join(rows.LAUNCH_PLAN_COLUMNS)} FROM launch_plans
WHERE project = :project AND domain = :domain AND name = :name AND version = :version
"""
