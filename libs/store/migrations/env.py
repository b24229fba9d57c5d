"""Alembic's entry point: runs the steps on the connection, and in the transaction, that `migrate` has opened."""

from __future__ import annotations

from alembic import context

from libs.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transactional_ddl=False,  # the transaction is ours, with the lock in it
)
context.run_migrations()
