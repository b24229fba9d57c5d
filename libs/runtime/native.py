"""Whether this is plain Python or the compiled tree of `make native`, for logs, `airscrew version` and benchmarks."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import Final

_COMPILED: Final = "libs.workflow.state"
"""One of the modules that are compiled, all or none of them."""


def compiled() -> bool:
    """Whether the modules that a leader spends its time in run as machine code."""
    spec = find_spec(_COMPILED)
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def form() -> str:
    """`compiled` or `interpreted`."""
    return "compiled" if compiled() else "interpreted"
