"""A turn on its way to the store: what the committer must know of it."""

from __future__ import annotations

from dataclasses import dataclass

from libs.workflow.state import Changes


@dataclass(slots=True)
class Pending:
    """A turn that waits to be durable."""

    changes: Changes
    started_us: int
    """When it began."""
    rows: int
    """How many it has changed."""
