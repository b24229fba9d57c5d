"""Intakes: task lists in Redis that become executions.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "intakes",
        sa.Column("project", name, nullable=False),
        sa.Column("domain", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("launch_plan_project", name, nullable=False),
        sa.Column("launch_plan_domain", name, nullable=False),
        sa.Column("launch_plan_name", name, nullable=False),
        sa.Column("launch_plan_version", name, nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("id_field", sa.Text(), nullable=False),
        sa.Column("pending_limit", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "domain", "name"),
    )
