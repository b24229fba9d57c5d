"""Children, signals, the cache, and what nodes of every kind remember.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    expand_executions()
    expand_nodes()
    create_signals()
    create_cache()


def expand_executions() -> None:
    op.add_column("executions", sa.Column("recovers_key", sa.BigInteger(), nullable=True))
    live_child = sa.text("phase NOT IN (4, 6, 7, 8) AND parent_key IS NOT NULL")
    op.create_index(
        "executions_by_parent", "executions", ["parent_key"], sqlite_where=live_child, postgresql_where=live_child
    )


def expand_nodes() -> None:
    for column in (
        sa.Column("choice", sa.Integer(), nullable=True),
        sa.Column("child_key", sa.BigInteger(), nullable=True),
        sa.Column("futures_uri", sa.Text(), nullable=True),
        sa.Column("closure_uri", sa.Text(), nullable=True),
        sa.Column("items", sa.Integer(), nullable=True),
        sa.Column("cache_status", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_key", sa.LargeBinary(), nullable=True),
        sa.Column("reservation", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
    ):
        op.add_column("nodes", column)


def create_signals() -> None:
    op.create_table(
        "signals",
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("signal_id", name, nullable=False),
        sa.Column("node_id", name, nullable=False),
        sa.Column("type", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("set_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("execution_key", "signal_id"),
        sqlite_with_rowid=False,
    )


def create_cache() -> None:
    op.create_table(
        "cache_entries",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("task_project", name, nullable=False),
        sa.Column("task_domain", name, nullable=False),
        sa.Column("task_name", name, nullable=False),
        sa.Column("task_version", name, nullable=False),
        sa.Column("outputs_inline", sa.LargeBinary(), nullable=True),
        sa.Column("outputs_uri", sa.Text(), nullable=True),
        sa.Column("outputs_size", sa.BigInteger(), nullable=True),
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("node_id", name, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(
        "cache_entries_by_task", "cache_entries", ["task_project", "task_domain", "task_name", "task_version"]
    )
    op.create_table(
        "cache_reservations",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("execution_key", sa.BigInteger(), nullable=False),
        sa.Column("node_id", name, nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_with_rowid=False,
    )
