"""Which version of Airscrew this is, as clients are told."""

from __future__ import annotations

from importlib import metadata


def display() -> str:
    """`v` and the version of the installed distribution, or `unknown`: what flytekit takes for a version."""
    try:
        return f"v{metadata.version('airscrew')}"
    except metadata.PackageNotFoundError:
        return "unknown"
