"""What the garbage collector needs: what holds what, what is marked, and which executions have been collected.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    expand_executions()
    expand_cache()
    create_garbage()
    create_holds()


def expand_executions() -> None:
    op.add_column("executions", sa.Column("collected_at_us", sa.BigInteger(), nullable=True))
    op.drop_index("executions_by_root", "executions")
    op.drop_index("executions_newest", "executions")
    for index, columns, condition in (
        ("executions_newest", ["project", "domain", "created_at_us"], "collected_at_us IS NULL"),
        ("executions_finished_below", ["parent_key"], "phase IN (4, 6, 7, 8) AND parent_key IS NOT NULL"),
        (
            "executions_finished",
            ["project", "ended_at_us", "key"],
            "phase IN (4, 6, 7, 8) AND parent_key IS NULL AND collected_at_us IS NULL",
        ),
    ):
        where = sa.text(condition)
        op.create_index(index, "executions", columns, sqlite_where=where, postgresql_where=where)


def expand_cache() -> None:
    op.add_column(
        "cache_entries", sa.Column("used_at_us", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.execute("UPDATE cache_entries SET used_at_us = created_at_us")
    op.create_index("cache_entries_by_execution", "cache_entries", ["execution_key"])
    op.create_index("cache_entries_by_use", "cache_entries", ["task_project", "used_at_us"])


def create_garbage() -> None:
    op.create_table(
        "garbage",
        sa.Column(
            "head_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("marked_at_us", sa.BigInteger(), nullable=False),
        sa.Column("condemned_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("head_key"),
    )
    op.create_index("garbage_by_shard", "garbage", ["shard", "head_key"])


def create_holds() -> None:
    op.create_table(
        "holds",
        sa.Column("source_key", sa.BigInteger(), nullable=False),
        sa.Column("holder_key", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source_key", "holder_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("holds_by_holder", "holds", ["holder_key"])
    # What has been recovered or found in the cache so far. Of nodes whose entry has gone nobody knows the source any
    # more; those that have hit the cache are few enough for a look at each.
    op.execute(
        """
        INSERT INTO holds (source_key, holder_key)
        WITH RECURSIVE
        pairs (source, holder) AS (
            SELECT recovers_key, key FROM executions WHERE recovers_key IS NOT NULL
            UNION
            SELECT cache_entries.execution_key, nodes.execution_key FROM nodes
            JOIN cache_entries ON cache_entries.key = nodes.cache_key WHERE nodes.cache_status = 2
        ),
        up (key, at, parent) AS (
            SELECT key, key, parent_key FROM executions
            WHERE key IN (SELECT source FROM pairs UNION SELECT holder FROM pairs)
            UNION ALL
            SELECT up.key, executions.key, executions.parent_key FROM up JOIN executions ON executions.key = up.parent
        )
        SELECT DISTINCT source.at, holder.at FROM pairs
        JOIN up AS source ON source.key = pairs.source AND source.parent IS NULL
        JOIN up AS holder ON holder.key = pairs.holder AND holder.parent IS NULL
        WHERE source.at <> holder.at
        """
    )
