"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """The condition of a partial index."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    create_registry()
    create_submissions()
    create_progress()
    create_leadership()


def create_registry() -> None:
    op.create_table(
        "projects",
        sa.Column("id", name, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "tasks",
        sa.Column("project", name, nullable=False),
        sa.Column("domain", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("version", name, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("closure", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "domain", "name", "version"),
    )
    op.create_index("tasks_newest", "tasks", ["project", "domain", "name", "created_at_us"])
    op.create_table(
        "workflows",
        sa.Column("project", name, nullable=False),
        sa.Column("domain", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("version", name, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("closure", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "domain", "name", "version"),
    )
    op.create_index("workflows_newest", "workflows", ["project", "domain", "name", "created_at_us"])
    op.create_table(
        "launch_plans",
        sa.Column("project", name, nullable=False),
        sa.Column("domain", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("version", name, nullable=False),
        sa.Column("workflow_project", name, nullable=False),
        sa.Column("workflow_domain", name, nullable=False),
        sa.Column("workflow_name", name, nullable=False),
        sa.Column("workflow_version", name, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("expected_inputs", sa.LargeBinary(), nullable=False),
        sa.Column("expected_outputs", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "domain", "name", "version"),
    )
    op.create_index(
        "launch_plans_active", "launch_plans", ["project", "domain", "name"], unique=True, **where("state = 1")
    )
    op.create_index("launch_plans_newest", "launch_plans", ["project", "domain", "name", "created_at_us"])


def create_submissions() -> None:
    op.create_table(
        "executions",
        sa.Column("key", key, autoincrement=False, nullable=False),
        sa.Column("project", name, nullable=False),
        sa.Column("domain", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("root_key", sa.BigInteger(), nullable=False),
        sa.Column("parent_key", sa.BigInteger(), nullable=True),
        sa.Column("parent_node_id", name, nullable=False),
        sa.Column("workflow_project", name, nullable=False),
        sa.Column("workflow_domain", name, nullable=False),
        sa.Column("workflow_name", name, nullable=False),
        sa.Column("workflow_version", name, nullable=False),
        sa.Column("launch_plan_project", name, nullable=False),
        sa.Column("launch_plan_domain", name, nullable=False),
        sa.Column("launch_plan_name", name, nullable=False),
        sa.Column("launch_plan_version", name, nullable=False),
        sa.Column("resource_type", sa.SmallInteger(), nullable=False),
        sa.Column("mode", sa.SmallInteger(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("inputs_inline", sa.LargeBinary(), nullable=True),
        sa.Column("inputs_uri", sa.Text(), nullable=True),
        sa.Column("inputs_size", sa.BigInteger(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("desired", sa.SmallInteger(), nullable=False),
        sa.Column("abort_cause", sa.Text(), nullable=False),
        sa.Column("abort_principal", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("observed_generation", sa.BigInteger(), nullable=False),
        sa.Column("next_wake_at_us", sa.BigInteger(), nullable=True),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("outputs_inline", sa.LargeBinary(), nullable=True),
        sa.Column("outputs_uri", sa.Text(), nullable=True),
        sa.Column("outputs_size", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("executions_by_name", "executions", ["project", "domain", "name"], unique=True)
    op.create_index("executions_by_root", "executions", ["root_key"])
    op.create_index("executions_live", "executions", ["shard", "key"], **where("phase NOT IN (4, 6, 7, 8)"))
    op.create_index("executions_newest", "executions", ["project", "domain", "created_at_us"])
    op.create_index(
        "executions_wanting_attention",
        "executions",
        ["shard", "key"],
        **where("phase NOT IN (4, 6, 7, 8) AND (generation <> observed_generation OR phase = 1)"),
    )
    op.create_index(
        "executions_with_timer",
        "executions",
        ["shard", "next_wake_at_us"],
        **where("phase NOT IN (4, 6, 7, 8) AND next_wake_at_us IS NOT NULL"),
    )
    op.create_table(
        "execution_tags",
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("key", name, nullable=False),
        sa.Column("value", name, nullable=False),
        sa.PrimaryKeyConstraint("execution_key", "key", "value"),
    )
    op.create_index("execution_tags_by_key", "execution_tags", ["key", "value", "execution_key"])


def create_progress() -> None:
    op.create_table(
        "nodes",
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("node_id", name, nullable=False),
        sa.Column("spec_id", name, nullable=False),
        sa.Column("parent_id", name, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("user_failures", sa.Integer(), nullable=False),
        sa.Column("system_failures", sa.Integer(), nullable=False),
        sa.Column("wake_at_us", sa.BigInteger(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=True),
        sa.Column("queued_at_us", sa.BigInteger(), nullable=True),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=True),
        sa.Column("task_project", name, nullable=True),
        sa.Column("task_domain", name, nullable=True),
        sa.Column("task_name", name, nullable=True),
        sa.Column("task_version", name, nullable=True),
        sa.Column("inputs_inline", sa.LargeBinary(), nullable=True),
        sa.Column("inputs_uri", sa.Text(), nullable=True),
        sa.Column("inputs_size", sa.BigInteger(), nullable=True),
        sa.Column("outputs_inline", sa.LargeBinary(), nullable=True),
        sa.Column("outputs_uri", sa.Text(), nullable=True),
        sa.Column("outputs_size", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("deck_uri", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("execution_key", "node_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempts",
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("node_id", name, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("executor", sa.Text(), nullable=True),
        sa.Column("incarnation", sa.Text(), nullable=True),
        sa.Column("placed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("log_uri", sa.Text(), nullable=True),
        sa.Column("checkpoint_uri", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("execution_key", "node_id", "attempt"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("id", key, autoincrement=True, nullable=False),
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("events_by_execution", "events", ["execution_key", "id"])


def create_leadership() -> None:
    op.create_table(
        "leadership",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("etcd_cluster", sa.Text(), nullable=False),
        sa.Column("create_revision", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("claimed_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard"),
    )
    op.create_table(
        "etcd_clusters",
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("retired", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id"),
    )
