"""Hypothesis on a shared machine: no deadline per example (a busy neighbour is no failure), failures reproducible."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("airscrew", deadline=None, print_blob=True)
settings.load_profile("airscrew")
