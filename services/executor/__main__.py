"""`python -m services.executor`: one executor, as its environment describes it (`settings`)."""

from __future__ import annotations

import sys

from libs.runtime import process
from services.executor import app, hardening
from services.executor.settings import ExecutorSettings


def main() -> int:
    """Runs until told to stop; returns the exit code."""
    hardening.hide_memory()
    # The standard loop: it watches over processes that others than it have started, too.
    return process.serve("executor", ExecutorSettings, app.serve, fast_loop=False)


if __name__ == "__main__":
    sys.exit(main())
