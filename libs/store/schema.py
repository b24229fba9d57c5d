"""The tables. Each column has one writer, so nobody ever has to merge.

    table            written by                    columns
    ---------------  ----------------------------  ---------------------------------------------------------------
    projects         admin                         all
    tasks            admin                         all; rows are immutable
    workflows        admin                         all; rows are immutable
    launch_plans     admin                         all; immutable but for `state` and `updated_at_us`
    executions       admin, once at submission     everything that describes the request (key … created_at_us)
    executions       admin                         generation, desired, abort_cause, abort_principal, state
    executions       the leader of the parent      a child of a launch plan node, whole, in a commit of the parent
    executions       the leader of an ancestor     generation, desired, abort_cause, abort_principal: only from run to
                                                   abort, in the commit that decides the end of the ancestor
    executions       the leader of its shard       phase, observed_generation, next_wake_at_us, started_at_us,
                                                   ended_at_us, updated_at_us, outputs_*, error
    executions       the collector of its shard    collected_at_us, once; then it empties all but key, name, shard,
                                                   phase, times and parent: the row stays, so the name is taken
    execution_tags   whoever adds the execution    all
    nodes, attempts  the leader of their shard     all
    events           the leader of their shard     all; append-only
    signals          the leader of their shard     adds the row when the gate becomes active: all but
    signals          admin                         value, principal, set_at_us: once
    cache_entries    leaders, and an operator      leaders add and replace rows, an operator evicts them
    cache_           leaders                       all; a row belongs to the node that it names, until its end is
      reservations                                 committed or anybody finds that it has ended
    holds            whoever makes an execution    all, in the transaction that makes it depend on another one's results
                       depend on another one
    garbage          the collector of its shard    all
    intakes          admin                         all; immutable but for `paused`
    installation     who starts first              all; immutable
    leadership       whoever claims the shard      all, in the claim's transaction
    etcd_clusters    a claim, and an operator      a claim adds the row, the operator sets `retired`

Times are microseconds since the Unix epoch, UTC. Phases are the numbers of `libs/workflow/phases`. A literal map is
three columns, `<name>_inline`, `<name>_uri` and `<name>_size` (`state.Data`), all NULL where there is none.

Names compare byte by byte (collation C), as SQLite does by itself: lists come in the same order from both databases,
and indices are smaller and faster.
"""

from __future__ import annotations

import re

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
    text,
)

from libs.workflow.errors import FailedPrecondition
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase

REVISION = "0006"
"""The Alembic revision that these tables are; a database at any other is refused."""

metadata = MetaData()

Name = Text().with_variant(Text(collation="C"), "postgresql")
# In SQLite only a column declared INTEGER is the row's own number; a BIGINT key would cost a second index.
Key = BigInteger().with_variant(Integer(), "sqlite")


def _is_final(phases: type[ExecutionPhase | NodePhase | AttemptPhase]) -> str:
    """Whether the column `phase` holds a terminal one.

    By comparisons: for a list of more than two values (`phase IN (…)`) SQLite builds a table each time that a statement
    runs, once for every index that has it in its condition.
    """
    runs: list[tuple[int, int]] = []
    for number in sorted(int(phase) for phase in phases if phase.terminal):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    each = (f"phase = {low}" if low == high else f"phase BETWEEN {low} AND {high}" for low, high in runs)
    return f"({' OR '.join(each)})"


EXECUTION_IS_FINAL = _is_final(ExecutionPhase)
NODE_IS_FINAL = _is_final(NodePhase)
ATTEMPT_IS_FINAL = _is_final(AttemptPhase)

EXECUTION_IS_LIVE = f"NOT {EXECUTION_IS_FINAL}"
NODE_IS_OPEN = f"NOT {NODE_IS_FINAL}"
ATTEMPT_IS_OPEN = f"NOT {ATTEMPT_IS_FINAL}"

# The sweep's two questions, word for word as in its queries: SQLite uses a partial index only if it recognises it.
WANTS_ATTENTION = f"{EXECUTION_IS_LIVE} AND (generation <> observed_generation OR phase = {ExecutionPhase.QUEUED:d})"
HAS_TIMER = f"{EXECUTION_IS_LIVE} AND next_wake_at_us IS NOT NULL"
# An abort goes down from parents to children, and only what is live is of interest to it.
HAS_PARENT = f"{EXECUTION_IS_LIVE} AND parent_key IS NOT NULL"
# What the garbage collector looks through: finished executions that nobody has launched and that are still there, and
# what they have launched.
HAD_PARENT = f"{EXECUTION_IS_FINAL} AND parent_key IS NOT NULL"
IS_FINISHED_HEAD = f"{EXECUTION_IS_FINAL} AND parent_key IS NULL AND collected_at_us IS NULL"


def _data(name: str) -> list[Column[object]]:
    """The three columns of a `state.Data`."""
    return [
        Column(f"{name}_inline", LargeBinary),
        Column(f"{name}_uri", Text),
        Column(f"{name}_size", BigInteger),
    ]


def _entity(name: str, *, nullable: bool) -> list[Column[str]]:
    """The four columns of an `identity.EntityId`."""
    return [Column(f"{name}_{part}", Name, nullable=nullable) for part in ("project", "domain", "name", "version")]


projects = Table(
    "projects",
    metadata,
    Column("id", Name, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("labels", LargeBinary, nullable=False),  # serialized flyteidl.admin.Labels
    Column("state", SmallInteger, nullable=False),  # number of flyteidl.admin.Project.ProjectState
    Column("created_at_us", BigInteger, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("project", Name, primary_key=True),
    Column("domain", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("version", Name, primary_key=True),
    Column("type", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("closure", LargeBinary, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Index("tasks_newest", "project", "domain", "name", "created_at_us"),
)

workflows = Table(
    "workflows",
    metadata,
    Column("project", Name, primary_key=True),
    Column("domain", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("version", Name, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("closure", LargeBinary, nullable=False),  # serialized flyteidl.core.CompiledWorkflowClosure
    Column("created_at_us", BigInteger, nullable=False),
    Index("workflows_newest", "project", "domain", "name", "created_at_us"),
)

launch_plans = Table(
    "launch_plans",
    metadata,
    Column("project", Name, primary_key=True),
    Column("domain", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("version", Name, primary_key=True),
    *_entity("workflow", nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("expected_inputs", LargeBinary, nullable=False),
    Column("expected_outputs", LargeBinary, nullable=False),
    Column("state", SmallInteger, nullable=False),  # number of flyteidl.admin.LaunchPlanState
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Index("launch_plans_newest", "project", "domain", "name", "created_at_us"),
    Index(
        "launch_plans_active",
        "project",
        "domain",
        "name",
        unique=True,  # at most one version of a name is ACTIVE, whatever races
        sqlite_where=text("state = 1"),
        postgresql_where=text("state = 1"),
    ),
)

executions = Table(
    "executions",
    metadata,
    Column("key", Key, primary_key=True, autoincrement=False),
    Column("project", Name, nullable=False),
    Column("domain", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("root_key", BigInteger, nullable=False),
    Column("parent_key", BigInteger),
    Column("parent_node_id", Name, nullable=False),
    Column("recovers_key", BigInteger),
    *_entity("workflow", nullable=False),
    *_entity("launch_plan", nullable=False),
    Column("resource_type", SmallInteger, nullable=False),  # of what was launched: flyteidl.core.ResourceType
    Column("mode", SmallInteger, nullable=False),  # flyteidl.admin.ExecutionMetadata.ExecutionMode
    Column("principal", Text, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    *_data("inputs"),
    Column("traceparent", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("desired", SmallInteger, nullable=False),
    Column("abort_cause", Text, nullable=False),
    Column("abort_principal", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),  # flyteidl.admin.ExecutionState: archived or not
    Column("phase", SmallInteger, nullable=False),
    Column("observed_generation", BigInteger, nullable=False),
    Column("next_wake_at_us", BigInteger),
    Column("started_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("updated_at_us", BigInteger, nullable=False),
    *_data("outputs"),
    Column("error", LargeBinary),
    Index("executions_by_name", "project", "domain", "name", unique=True),
    Column("collected_at_us", BigInteger),
    Index(
        "executions_newest",
        "project",
        "domain",
        "created_at_us",
        sqlite_where=text("collected_at_us IS NULL"),
        postgresql_where=text("collected_at_us IS NULL"),
    ),
    Index(
        "executions_finished_below",
        "parent_key",
        sqlite_where=text(HAD_PARENT),
        postgresql_where=text(HAD_PARENT),
    ),
    Index(
        "executions_finished",
        "project",
        "ended_at_us",
        "key",
        sqlite_where=text(IS_FINISHED_HEAD),
        postgresql_where=text(IS_FINISHED_HEAD),
    ),
    Index(
        "executions_live",
        "shard",
        "key",
        sqlite_where=text(EXECUTION_IS_LIVE),
        postgresql_where=text(EXECUTION_IS_LIVE),
    ),
    Index(
        "executions_wanting_attention",
        "shard",
        "key",
        sqlite_where=text(WANTS_ATTENTION),
        postgresql_where=text(WANTS_ATTENTION),
    ),
    Index(
        "executions_with_timer",
        "shard",
        "next_wake_at_us",
        sqlite_where=text(HAS_TIMER),
        postgresql_where=text(HAS_TIMER),
    ),
    Index(
        "executions_by_parent",
        "parent_key",
        sqlite_where=text(HAS_PARENT),
        postgresql_where=text(HAS_PARENT),
    ),
)

execution_tags = Table(
    "execution_tags",
    metadata,
    Column("execution_key", BigInteger, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("value", Name, primary_key=True),
    Index("execution_tags_by_key", "key", "value", "execution_key"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("execution_key", BigInteger, primary_key=True),
    Column("node_id", Name, primary_key=True),
    Column("spec_id", Name, nullable=False),
    Column("parent_id", Name, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("user_failures", Integer, nullable=False),
    Column("system_failures", Integer, nullable=False),
    Column("wake_at_us", BigInteger),
    Column("created_at_us", BigInteger),
    Column("queued_at_us", BigInteger),
    Column("started_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("updated_at_us", BigInteger),
    *_entity("task", nullable=True),
    *_data("inputs"),
    *_data("outputs"),
    Column("error", LargeBinary),
    Column("deck_uri", Text),
    Column("choice", Integer),
    Column("child_key", BigInteger),
    Column("futures_uri", Text),
    Column("closure_uri", Text),
    Column("items", Integer),
    Column("cache_status", SmallInteger, nullable=False, server_default=text("0")),
    Column("cache_key", LargeBinary),
    Column("reservation", SmallInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,  # stored in the order of the key: a whole execution lies together
)

attempts = Table(
    "attempts",
    metadata,
    Column("execution_key", BigInteger, primary_key=True),
    Column("node_id", Name, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("phase", SmallInteger, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("executor", Text),
    Column("incarnation", Text),
    Column("placed_at_us", BigInteger),
    Column("started_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("updated_at_us", BigInteger),
    Column("seq", BigInteger, nullable=False),
    Column("error", LargeBinary),
    Column("reason", Text, nullable=False),
    Column("log_uri", Text),
    Column("checkpoint_uri", Text),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("execution_key", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Index("events_by_execution", "execution_key", "id"),
)

signals = Table(
    "signals",
    metadata,
    Column("execution_key", BigInteger, primary_key=True),
    Column("signal_id", Name, primary_key=True),
    Column("node_id", Name, nullable=False),
    Column("type", LargeBinary, nullable=False),  # serialized flyteidl.core.LiteralType
    Column("value", LargeBinary),  # serialized flyteidl.core.Literal; NULL until it is given
    Column("principal", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("set_at_us", BigInteger),
    sqlite_with_rowid=False,
)

cache_entries = Table(
    "cache_entries",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    *_entity("task", nullable=False),
    *_data("outputs"),
    Column("execution_key", BigInteger, nullable=False),
    Column("node_id", Name, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("used_at_us", BigInteger, nullable=False),  # not later than it was last found by more than a few hours
    Index("cache_entries_by_task", "task_project", "task_domain", "task_name", "task_version"),
    Index("cache_entries_by_execution", "execution_key"),
    Index("cache_entries_by_use", "task_project", "used_at_us"),
)

cache_reservations = Table(
    "cache_reservations",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("execution_key", BigInteger, nullable=False),
    Column("node_id", Name, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Both are heads: executions that nobody has launched. All that lies below a head is kept and collected with it.
holds = Table(
    "holds",
    metadata,
    Column("source_key", BigInteger, primary_key=True),
    Column("holder_key", BigInteger, primary_key=True),
    Index("holds_by_holder", "holder_key"),
    sqlite_with_rowid=False,
)

garbage = Table(
    "garbage",
    metadata,
    Column("head_key", Key, primary_key=True, autoincrement=False),
    Column("shard", Integer, nullable=False),
    Column("marked_at_us", BigInteger, nullable=False),
    Column("condemned_at_us", BigInteger),  # from then on nothing keeps it
    Index("garbage_by_shard", "shard", "head_key"),
)

intakes = Table(
    "intakes",
    metadata,
    Column("project", Name, primary_key=True),
    Column("domain", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("codec", Text, nullable=False),
    *_entity("launch_plan", nullable=False),
    Column("field", Text, nullable=False),
    Column("id_field", Text, nullable=False),
    Column("pending_limit", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
)

installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("shards", Integer, nullable=False),
)

leadership = Table(
    "leadership",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("etcd_cluster", Text, nullable=False),
    Column("create_revision", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("claimed_at_us", BigInteger, nullable=False),
)

etcd_clusters = Table(
    "etcd_clusters",
    metadata,
    Column("cluster_id", Text, primary_key=True),
    Column("retired", SmallInteger, nullable=False),
)


def of(table: str, condition: str) -> str:
    """One of the conditions above, where the statement has more than one table with a `phase`."""
    return re.sub(r"\bphase\b", f"{table}.phase", condition)


def live(table: Table) -> ColumnElement[bool]:
    """EXECUTION_IS_LIVE for queries that are built; the numbers stand in the SQL, so that partial indices serve."""
    return literal_column(of(table.name, EXECUTION_IS_LIVE), Boolean)


def require_revision(found: str | None) -> None:
    """Raises FailedPrecondition unless `found`, the revision a database is at, is the one of these tables."""
    if found == REVISION:
        return
    if found is None or found < REVISION:
        raise FailedPrecondition(
            f"the database's schema is at revision {found or 'none'}, this program needs {REVISION}: "
            "run `airscrew migrate`"
        )
    raise FailedPrecondition(
        f"the database's schema is at revision {found}, written by a newer Airscrew; this program knows {REVISION}: "
        "update it, or run `airscrew migrate` with the newer one"
    )
