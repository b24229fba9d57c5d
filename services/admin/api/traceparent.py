"""The trace that a caller is part of, as it says."""

from __future__ import annotations

from typing import Any


def traceparent(context: Any) -> str:
    """The caller's `traceparent`; empty when it sends none."""
    metadata = dict(context.invocation_metadata() or ())
    value = metadata.get("traceparent", "")
    return value if isinstance(value, str) else ""
